//! Records of every kind that there is.

use gabion_abi::contract::{Contract, Invalid, Payload, ServiceContract};

#[repr(C)]
#[derive(Contract)]
struct Plain {
    unsigned: [u64; 2],
    #[contract(unit = "ns")]
    seen_ns: i64,
    nested: [[u16; 3]; 2],
    r#type: u8,
    padding: [u8; 3],
}

#[repr(C, align(16))]
#[derive(Contract)]
pub struct Aligned {
    words: [u32; 4],
}

#[repr(C)]
#[derive(Contract)]
struct Ring<T: Copy, const CAP: usize, const WRAPS: bool>
where
    T: Default,
{
    pushed: u32,
    popped: u32,
    slots: [T; CAP],
}

impl Payload for Plain {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.r#type < 8, "Plain.type", self.r#type.into(), "below 8")
    }
}

const PROVIDED: ServiceContract<Plain> = ServiceContract::new("plain", 1);
const CONSUMED: ServiceContract<Plain> = ServiceContract::new("plain", 1);
const MET: ServiceContract<Plain> = ServiceContract::meet(&PROVIDED, &CONSUMED);

fn main() {
    let _ = (MET, Aligned::SHAPE, <Ring<u64, 4, true> as Contract>::SHAPE.digest());
}
