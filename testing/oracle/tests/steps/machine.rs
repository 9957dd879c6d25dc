//! A machine for BPF that counts: the object's instructions over memory of its own, as many steps as a packet takes.
//!
//! Slow and plain, for counting alone: what the programs decide is compared where the kernel runs them. An address is
//! the number of a region above 32 bits of offset, so that a wrong one is noticed.

use std::collections::HashMap;

use aya_obj::generated::bpf_insn;
use aya_obj::{Map, Object};
use gabion_abi::conn::{MARK_SLOTS, NOTE_SLOTS};
use gabion_abi::tables::{PARAM_WORDS, constants, param_words};
use gabion_abi::verdict::{Count, Interface};
use gabion_kernel_object::{INGRESS, map, object};
use gabion_policy_compile::Compiled;

/// Bytes of a function's stack.
const STACK: u64 = 512;
/// Maps with a value for each key that was inserted; all others are arrays.
const HASHES: [&str; 5] = [map::ESTABLISHED, map::DATAGRAMS, map::OPENING, map::FRAGMENTS, map::LOCAL];

/// A map: how long its keys and values are, and where the values lie.
struct Store {
    is_hash: bool,
    key: usize,
    value: usize,
    entries: u32,
    found: HashMap<Vec<u8>, u64>,
}

/// Bytes of a section that the loader makes as long as it must be, for one CPU and two interfaces.
fn memory(name: &str, compiled: &Compiled) -> Option<usize> {
    Some(match name {
        map::TABLES => PARAM_WORDS * 8 + (compiled.words.len() * 8).next_power_of_two() + 8,
        map::INTERFACES => 2 * size_of::<Interface>(),
        map::RULES => compiled.rules.len().next_power_of_two() * size_of::<Count>(),
        map::NOTES => NOTE_SLOTS as usize * 8,
        map::MARKS => MARK_SLOTS as usize * 2,
        _ => return None,
    })
}

/// The ingress program of one policy.
pub struct Machine {
    code: Vec<bpf_insn>,
    regions: Vec<Vec<u8>>,
    stores: Vec<Store>,
    context: u64,
    packet: (u64, u64),
    steps: usize,
}

impl Machine {
    /// The program with the constants of a policy.
    pub fn new(compiled: &Compiled) -> Self {
        let mut parsed = Object::parse(object().unwrap()).unwrap();
        let params: Vec<u8> = constants(&compiled.params).iter().flat_map(|param| param.to_ne_bytes()).collect();
        let table_bytes = (compiled.words.len() * 8).next_power_of_two();
        let mask = (table_bytes as u32 - 1).to_ne_bytes();
        let rules = (compiled.rules.len().next_power_of_two() as u32 - 1).to_ne_bytes();
        let globals: [(&str, &[u8]); 7] = [
            (map::PARAMS, &params),
            (map::TABLE_MASK, &mask),
            (map::SIDE_BYTES, &[0; 4]),
            (map::SEED, &[7; 8]),
            (map::INTERFACE_MASK, &[1, 0, 0, 0]),
            (map::RULE_MASK, &rules),
            (map::CPU_MASK, &[0; 4]),
        ];
        parsed.patch_map_data(globals.iter().map(|&(name, value)| (name, (value, true))).collect()).unwrap();
        // Region 0 is nobody's.
        let mut machine = Self {
            code: Vec::new(),
            regions: vec![Vec::new()],
            stores: Vec::new(),
            context: 0,
            packet: (0, 0),
            steps: 0,
        };
        let maps: Vec<(String, Map)> = parsed.maps.drain().collect();
        for (name, definition) in &maps {
            let (value, mut found) = (definition.value_size() as usize, HashMap::new());
            if !definition.data().is_empty() {
                let mut bytes = definition.data().to_vec();
                if name == map::TABLES {
                    let all = param_words(&compiled.params).into_iter().chain(compiled.words.iter().copied());
                    bytes = all.flat_map(u64::to_ne_bytes).collect();
                }
                bytes.resize(memory(name, compiled).unwrap_or(bytes.len()), 0);
                found.insert(vec![0; 4], machine.region(bytes));
            }
            machine.stores.push(Store {
                is_hash: HASHES.contains(&name.as_str()),
                key: definition.key_size() as usize,
                value,
                entries: definition.max_entries(),
                found,
            });
        }
        let sections = parsed.functions.keys().map(|&(section, _)| section).collect();
        let numbered = maps.iter().enumerate();
        parsed.relocate_maps(numbered.map(|(at, (name, map))| (name.as_str(), at as i32, map)), &sections).unwrap();
        parsed.relocate_calls(&sections).unwrap();
        let program = &parsed.programs[INGRESS];
        machine.code.clone_from(&parsed.functions[&program.function_key()].instructions);
        machine.context = machine.region(vec![0; 24]);
        machine
    }

    /// Instructions of the program in the object, with all that it calls.
    pub fn instructions(&self) -> usize {
        self.code.len()
    }

    fn region(&mut self, bytes: Vec<u8>) -> u64 {
        self.regions.push(bytes);
        (self.regions.len() as u64 - 1) << 32
    }

    /// Runs over a frame: whether it passes, and in how many steps. A helper is one step.
    pub fn run(&mut self, frame: &[u8]) -> (bool, usize) {
        let start = self.region(frame.to_vec());
        self.packet = (start, start + frame.len() as u64);
        self.steps = 0;
        let action = self.call(0, [self.context, 0, 0, 0, 0]);
        // XDP_PASS is 2.
        (action == 2, self.steps)
    }

    fn bytes(&mut self, address: u64, length: usize) -> &mut [u8] {
        let at = address as u32 as usize;
        &mut self.regions[(address >> 32) as usize][at..at + length]
    }

    fn load(&mut self, address: u64, length: usize) -> u64 {
        match address.wrapping_sub(self.context) {
            // struct xdp_md: data and data_end; ifindex 1.
            0 if length == 4 => return self.packet.0,
            4 if length == 4 => return self.packet.1,
            12 if length == 4 => return 1,
            _ => {}
        }
        let mut word = [0; 8];
        word[..length].copy_from_slice(self.bytes(address, length));
        u64::from_le_bytes(word)
    }

    fn call(&mut self, start: usize, arguments: [u64; 5]) -> u64 {
        let mut r = [0u64; 11];
        r[1..6].copy_from_slice(&arguments);
        let frame = self.region(vec![0; STACK as usize]);
        r[10] = frame + STACK;
        let mut at = start;
        loop {
            let i = self.code[at];
            self.steps += 1;
            at += 1;
            let (d, s) = (i.dst_reg() as usize, i.src_reg() as usize);
            let operand = if i.code & 8 != 0 { r[s] } else { i64::from(i.imm) as u64 };
            let size = [4, 2, 1, 8][usize::from(i.code >> 3 & 3)];
            let offset = i64::from(i.off) as u64;
            match i.code & 7 {
                0 => {
                    let high = self.code[at].imm as u32;
                    at += 1;
                    r[d] = match s {
                        // A map; a place in its only value.
                        1 => u64::from(i.imm as u32),
                        2 => self.stores[i.imm as usize].found[&vec![0; 4]] + u64::from(high),
                        _ => u64::from(high) << 32 | u64::from(i.imm as u32),
                    };
                }
                1 => r[d] = self.load(r[s].wrapping_add(offset), size),
                2 | 3 => {
                    assert_eq!(i.code >> 5, 3, "plain stores only");
                    let value = if i.code & 7 == 3 { r[s] } else { i64::from(i.imm) as u64 };
                    self.bytes(r[d].wrapping_add(offset), size).copy_from_slice(&value.to_le_bytes()[..size]);
                }
                // To big endian, of 16, 32 or 64 bits.
                4 if i.code == 0xdc => r[d] = r[d].swap_bytes() >> (64 - i.imm),
                4 => r[d] = u64::from(alu(i, r[d] as u32 as u64, operand as u32 as u64, 32) as u32),
                7 => r[d] = alu(i, r[d], operand, 64),
                _ if i.code == 0x85 && s == 1 => {
                    let target = (at as i64 + i64::from(i.imm)) as usize;
                    r[0] = self.call(target, [r[1], r[2], r[3], r[4], r[5]]);
                }
                _ if i.code == 0x85 => r[0] = self.help(i.imm, [r[1], r[2], r[3]]),
                _ if i.code == 0x95 => return r[0],
                class => {
                    let narrow = class == 6;
                    let cut = |value: u64| if narrow { value & 0xffff_ffff } else { value };
                    let signed = |value: u64| if narrow { i64::from(value as i32) } else { value as i64 };
                    let (a, b) = (cut(r[d]), cut(operand));
                    let taken = match i.code >> 4 {
                        0 => true,
                        1 => a == b,
                        2 => a > b,
                        3 => a >= b,
                        4 => a & b != 0,
                        5 => a != b,
                        6 => signed(a) > signed(b),
                        7 => signed(a) >= signed(b),
                        10 => a < b,
                        11 => a <= b,
                        12 => signed(a) < signed(b),
                        13 => signed(a) <= signed(b),
                        other => unreachable!("jump {other}"),
                    };
                    if taken {
                        at = (at as i64 + i64::from(i.off)) as usize;
                    }
                }
            }
        }
    }

    fn help(&mut self, number: i32, [a, b, c]: [u64; 3]) -> u64 {
        let key = |machine: &mut Self| {
            let length = machine.stores[a as usize].key;
            machine.bytes(b, length).to_vec()
        };
        match number {
            // bpf_map_lookup_elem, _update_elem, _delete_elem.
            1 => {
                let key = key(self);
                let store = &self.stores[a as usize];
                if let Some(&found) = store.found.get(&key) {
                    return found;
                }
                let index = key.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
                if store.is_hash || index >= u64::from(store.entries) {
                    return 0;
                }
                let value = self.region(vec![0; self.stores[a as usize].value]);
                self.stores[a as usize].found.insert(key, value);
                value
            }
            2 => {
                let (key, length) = (key(self), self.stores[a as usize].value);
                let value = self.bytes(c, length).to_vec();
                let value = self.region(value);
                self.stores[a as usize].found.insert(key, value);
                0
            }
            3 => {
                let key = key(self);
                self.stores[a as usize].found.remove(&key);
                0
            }
            // bpf_get_smp_processor_id.
            8 => 0,
            // bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns: a clock that stands still.
            125 | 160 => 1_000_000_000_000,
            // bpf_ringbuf_reserve: nobody reads.
            131 => 0,
            // bpf_xdp_get_buff_len.
            188 => self.packet.1 - self.packet.0,
            other => unreachable!("helper {other}"),
        }
    }
}

fn alu(i: bpf_insn, a: u64, b: u64, width: u32) -> u64 {
    match i.code >> 4 {
        0 => a.wrapping_add(b),
        1 => a.wrapping_sub(b),
        2 => a.wrapping_mul(b),
        3 => a.checked_div(b).unwrap_or(0),
        4 => a | b,
        5 => a & b,
        6 => a << (b & u64::from(width - 1)),
        7 => a >> (b & u64::from(width - 1)),
        8 => a.wrapping_neg(),
        9 => a.checked_rem(b).unwrap_or(a),
        10 => a ^ b,
        11 => b,
        12 if width == 32 => (a as i32 >> (b & 31)) as u64,
        12 => (a as i64 >> (b & 63)) as u64,
        other => unreachable!("operation {other}"),
    }
}
