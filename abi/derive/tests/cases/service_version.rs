//! A provider and a consumer of different versions, and of different services.

use gabion_abi::boundary::EVENTS;
use gabion_abi::contract::ServiceContract;
use gabion_abi::event::Event;

const OLDER: ServiceContract<Event> = ServiceContract::meet(&EVENTS, &ServiceContract::new("events", 0));
const OTHER: ServiceContract<Event> = ServiceContract::meet(&EVENTS, &ServiceContract::new("alarms", 1));

fn main() {
    let _ = (OLDER, OTHER);
}
