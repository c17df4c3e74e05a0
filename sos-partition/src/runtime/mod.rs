//! What the library needs of a CPU at EL1: entry, calls, mailbox page, network card, sleep, console, heap.

mod call;
mod console;
mod entry;
#[cfg_attr(feature = "fault-injection", path = "faults.rs")]
#[cfg_attr(not(feature = "fault-injection"), path = "no_faults.rs")]
mod faults;
mod interrupts;
mod memory;
mod mmio;
mod nic;
#[cfg_attr(feature = "random-calls", path = "random_calls.rs")]
#[cfg_attr(not(feature = "random-calls"), path = "no_random_calls.rs")]
mod random_calls;

use hv_abi::ABI_VERSION;
use hv_abi::sos_image::LIFE_MAGIC;
use sos_partition::service::{Life, Next, Service};
use sos_partition::web::Server;

use call::El2;
use memory::MailboxPage;
use nic::Nic;

/// A life, from the first line of Rust to its end. `record` is the IPA of the life record.
extern "C" fn main(record: u64) -> ! {
    // SAFETY: EL2 has put a life record there, and this is the only call.
    let record = unsafe { memory::life_record(record) };
    assert_eq!(record.magic.get(), LIFE_MAGIC, "no life record");
    assert_eq!(record.abi.get(), ABI_VERSION, "EL2 has another ABI");
    // SAFETY: the first and only call; nothing was allocated before.
    unsafe { memory::init_heap(record.memory.get()) };
    console::init();
    interrupts::init();
    let life = Life {
        // SAFETY: EL2 maps the archive there, read-only, for the whole life.
        archive: unsafe { memory::archive(record.archive.get()) },
        seed: record.seed,
        ticks_per_second: record.counter_hz.get(),
    };
    let mut el2 = El2::new(life.ticks_per_second);
    random_calls::make(&mut el2, &record);
    let service = Service::begin(el2, MailboxPage::new(), life);
    match service.and_then(serve) {
        Ok(never) => match never {},
        Err(error) => panic!("{error}"),
    }
}

/// Turns and sleep, until EL2 ends it.
fn serve(mut service: Service<'_, El2, MailboxPage>) -> Result<core::convert::Infallible, sos_partition::Error> {
    let mut server: Option<Server<Nic>> = None;
    loop {
        let now = interrupts::now();
        // First: a packet that has come is a reason not to leave.
        let network = server.as_mut().map_or(Next::Sleep(None), |server| server.turn(&mut service, now));
        let Next::Sleep(until) = service.turn(now)?.earlier(network) else {
            continue;
        };
        let wakes = interrupts::sleep(until);
        if wakes.mailbox {
            service.interrupt();
        }
        if wakes.network {
            match &mut server {
                Some(server) => server.card().acknowledge(),
                None => server = start(&mut service),
            }
        }
    }
}

/// Starts the network card and what is served by it, now that a packet has come.
fn start(service: &mut Service<'_, El2, MailboxPage>) -> Option<Server<Nic>> {
    let network = service.network()?;
    // SAFETY: until there is a server, and no later; one that does not start has given its device up.
    let nic = unsafe { Nic::start() };
    if nic.is_none() {
        log::error!("network: the card does not start");
    }
    nic.map(|nic| Server::new(nic, &network, service, interrupts::now()))
}
