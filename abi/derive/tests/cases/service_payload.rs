//! A provider and a consumer whose payloads differ.

use gabion_abi::contract::{Contract, Invalid, Payload, ServiceContract};

mod provider {
    use super::*;

    #[repr(C)]
    #[derive(Contract)]
    pub struct Flow {
        pub port: u32,
    }

    impl Payload for Flow {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    pub const FLOWS: ServiceContract<Flow> = ServiceContract::new("flows", 1);
}

mod consumer {
    use super::*;

    #[repr(C)]
    #[derive(Contract)]
    pub struct Flow {
        pub port: u16,
    }

    impl Payload for Flow {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    pub const FLOWS: ServiceContract<Flow> = ServiceContract::new("flows", 1);
}

const MET: ServiceContract<consumer::Flow> = ServiceContract::meet(&provider::FLOWS, &consumer::FLOWS);

fn main() {
    let _ = MET;
}
