//! Consoles are attached to the port that asks, and to no other.

use hv_abi::console::ConsoleRight;
use hv_abi::message::ConsoleAttach;

use super::*;

fn console(name: &str, input: bool) -> Request {
    Request::Console(ConsoleAttach { name: name.into(), input })
}

#[test]
fn a_console_is_attached_to_the_port_that_asked() {
    let mut life = Life1::new();
    life.ask(&start("raw"));
    assert_eq!(life.ask(&console("raw", true)), Reply::Done);
    assert_eq!(life.ask(&console("raw", false)), Reply::Done);
    let tiny = life.el2.handle("raw");
    let expected = [(tiny, (ASKER, 2), ConsoleRight::ReadAndType), (tiny, (ASKER, 2), ConsoleRight::Read)];
    assert_eq!(life.el2.0.borrow().attached, expected);
}

#[test]
fn a_console_that_is_not_there_or_not_for_the_asker_is_refused_by_name() {
    let mut life = Life1::new();
    assert_eq!(life.fails(&console("nobody", true)).code, FailureCode::NotFound);
    assert_eq!(life.fails(&console("raw", true)).code, FailureCode::WrongState);
    life.ask(&start("raw"));
    let cases = [
        (Status::Denied, FailureCode::Denied),
        (Status::WrongState, FailureCode::WrongState),
        (Status::NoRoom, FailureCode::NoResources),
    ];
    for (status, code) in cases {
        life.el2.0.borrow_mut().fail_call = Some(("console_attach", status));
        let failure = life.fails(&console("raw", true));
        assert_eq!(failure.code, code);
        assert!(failure.message.contains("raw"), "{}", failure.message);
    }
}
