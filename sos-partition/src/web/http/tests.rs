use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const HOST: &str = "Host: dormouse\r\n";

fn of(head: &str) -> Option<Result<Resource, Refusal>> {
    parse(head.as_bytes())
}

#[test]
fn a_get_of_either_version_and_form_finds_its_resource() {
    for (head, resource) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Resource::Page),
        ("GET / HTTP/1.0\r\n\r\n", Resource::Page),
        ("GET /api/v1/vms HTTP/1.1\r\nhost:a\r\nAccept: */*\r\n\r\n", Resource::VmList),
        ("GET /?refresh=1 HTTP/1.1\r\nHost: a\r\n\r\n", Resource::Page),
        ("GET http://10.0.2.100/api/v1/vms HTTP/1.1\r\nHost: a\r\n\r\n", Resource::VmList),
        ("GET HTTP://10.0.2.100 HTTP/1.1\r\nHost: a\r\n\r\n", Resource::Page),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Resource::Page),
        ("GET / HTTP/1.1\nHost: a\n\n", Resource::Page),
        ("GET / HTTP/1.9\r\nHost: a\r\nX: \tb\u{fc}\r\n\r\nbody", Resource::Page),
    ] {
        assert_eq!(of(head), Some(Ok(resource)), "{head:?}");
    }
}

#[test]
fn what_is_no_request_or_not_served_has_its_status() {
    use Refusal::{BadRequest, MethodNotAllowed, NotFound, Version};
    for (line, fields, refusal) in [
        ("GET /x HTTP/1.1", HOST, NotFound),
        ("GET //  HTTP/1.1", HOST, BadRequest),
        ("GET /api/v1/vms/ HTTP/1.1", HOST, NotFound),
        ("GET * HTTP/1.1", HOST, NotFound),
        ("POST / HTTP/1.1", HOST, MethodNotAllowed),
        ("HEAD / HTTP/1.1", HOST, MethodNotAllowed),
        ("get / HTTP/1.1", HOST, MethodNotAllowed),
        ("G(T / HTTP/1.1", HOST, BadRequest),
        ("GET / HTTP/2.0", HOST, Version),
        ("GET / HTTP/1.10", HOST, BadRequest),
        ("GET / http/1.1", HOST, BadRequest),
        ("GET /", HOST, BadRequest),
        ("GET  / HTTP/1.1", HOST, BadRequest),
        ("GET /\r HTTP/1.1", HOST, BadRequest),
        ("GET / HTTP/1.1", "", BadRequest),
        ("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n", BadRequest),
        ("GET / HTTP/1.0", "Host: a\r\nhost: b\r\n", BadRequest),
        ("GET / HTTP/1.1", "Host : a\r\n", BadRequest),
        ("GET / HTTP/1.1", "Host: a\r\n folded\r\n", BadRequest),
        ("GET / HTTP/1.1", "Host: a\r\nno colon\r\n", BadRequest),
        ("GET / HTTP/1.1", "Host: a\r\n: b\r\n", BadRequest),
        ("GET / HTTP/1.1", "Host: a\r\nX: \u{1}\r\n", BadRequest),
    ] {
        let head = std::format!("{line}\r\n{fields}\r\n");
        assert_eq!(of(&head), Some(Err(refusal)), "{head:?}");
    }
    assert_eq!(parse(&[0x16, 3, 1, 2, 0]), Some(Err(BadRequest)), "a hello of TLS");
}

#[test]
fn a_head_is_complete_with_its_empty_line_and_too_large_behind_2048_bytes() {
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for length in 0..whole.len() {
        assert_eq!(of(&whole[..length]), None, "{length}");
    }
    let fill = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        std::format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    assert_eq!(of(&fill(2048)), Some(Ok(Resource::Page)));
    assert_eq!(of(&fill(2049)[..2048]), Some(Err(Refusal::HeadTooLarge)));
    assert_eq!(of(&"a".repeat(2047)), None);
    assert_eq!(of(&"a".repeat(2048)), Some(Err(Refusal::HeadTooLarge)));
}

#[test]
fn an_answer_has_its_length_and_closes() {
    let content = Content { media_type: "text/plain", body: "four".into() };
    let text = String::from_utf8(answer(Ok(content))).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for field in ["Content-Type: text/plain", "Content-Length: 4", "Connection: close"] {
        assert!(head.lines().any(|line| line == field), "{head}");
    }
    assert_eq!(body, "four");
    let refused = String::from_utf8(answer(Err(Refusal::MethodNotAllowed))).unwrap();
    assert!(refused.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n") && refused.ends_with("\r\n\r\n"));
    let refused = String::from_utf8(answer(Err(Refusal::HeadTooLarge))).unwrap();
    assert!(refused.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{refused}");
}

proptest! {
    /// What has an answer keeps it, whatever follows; and only what was asked for in plain words is served.
    #[test]
    fn mutated_heads_have_one_answer_and_cause_no_panic(
        places in proptest::collection::vec((0usize..80, any::<u8>()), 0..6), cut in 0usize..80, more: Vec<u8>,
    ) {
        let mut head = b"GET /api/v1/vms HTTP/1.1\r\nHost: dormouse\r\nAccept: */*\r\n\r\n".to_vec();
        for (place, byte) in places {
            let place = place % head.len();
            head[place] = byte;
        }
        head.truncate(cut.max(1));
        let first = parse(&head);
        if let Some(Ok(_)) = first {
            prop_assert!(head.starts_with(b"GET "));
        }
        if first.is_some() {
            head.extend_from_slice(&more);
            prop_assert_eq!(parse(&head), first);
        }
    }
}
