//! Each building block in a loaded program: what the kernel's verifier takes, and that kernel, host and std agree about
//! what comes out. Needs root and the programs; says so and passes without, unless `./x test` demands them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod model;
mod rules;

use fastrand::Rng;
use gabion_kernel_core::blocks::StrideWriter;
use gabion_testing_blocks::{Hooked, Kernel};
use gabion_testing_blocks_programs::{BASES, Bounds, Classes, Machine, OPS, Op, Rings, Strides, WORDS};

/// Packets of operations for each program and start; `GABION_DECISIONS` is about single decisions.
const PACKETS: usize = 2_000;

fn packets() -> usize {
    std::env::var("GABION_DECISIONS").ok().map_or(PACKETS, |n| n.parse::<usize>().unwrap() / OPS)
}

/// Whether loading is possible here.
fn can_load() -> bool {
    let missing = match gabion_testing_blocks::object() {
        _ if !nix::unistd::geteuid().is_root() => "not root".to_owned(),
        Ok(_) => return true,
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
    println!("skipped: {missing}");
    false
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned()
}

fn load<M: Hooked>() -> Kernel<M> {
    let kernel = Kernel::<M>::load().unwrap_or_else(|error| panic!("{error:#?}"));
    println!("{} on {}: {} instructions walked", M::PROGRAM, release(), kernel.walked().unwrap());
    kernel
}

/// A number: any, or one about as large as the containers, or at the edge of a type.
fn number(rng: &mut Rng) -> u32 {
    match rng.u32(0..8) {
        0 => rng.u32(..),
        1 => [u32::MAX, 1 << 31, (1 << 31) - 1, 0xffff, 0x1_0000, 255, 256][rng.usize(0..7)],
        _ => rng.u32(0..24),
    }
}

fn op(rng: &mut Rng) -> Op {
    [rng.u32(0..0xffff_0000), number(rng), number(rng), number(rng)]
}

/// Runs random operations in the kernel and on the host, from the same start; `model` says what is expected where it
/// can.
fn agree<M: Hooked + PartialEq + std::fmt::Debug>(
    kernel: &mut Kernel<M>,
    start: &M,
    seed: u64,
    mut op: impl FnMut(&mut Rng) -> Op,
    mut model: Option<&mut dyn Machine>,
) {
    let mut rng = Rng::with_seed(seed);
    let mut host = Box::new(*start);
    kernel.set(start).unwrap();
    for packet in 0..packets() {
        let ops: [Op; OPS] = std::array::from_fn(|_| op(&mut rng));
        let answers = kernel.run(&ops).unwrap();
        for (at, (op, answer)) in ops.iter().zip(answers).enumerate() {
            let context = || format!("{} seed {seed} packet {packet} {:?}", M::PROGRAM, &ops[..=at]);
            assert_eq!(answer, host.apply(op), "kernel, host; {}", context());
            if let Some(model) = &mut model {
                assert_eq!(answer, model.apply(op), "kernel, std; {}", context());
            }
        }
    }
    assert!(kernel.held().unwrap() == *host, "{} seed {seed}: the kernel's map and the host's differ", M::PROGRAM);
}

/// A machine of any bytes, as if something else had written the map.
fn garbage<M: Hooked>(rng: &mut Rng) -> Box<M> {
    let mut machine = Box::<M>::new_uninit();
    // SAFETY: as many bytes as the machine has, all of them written; every pattern of bytes is a machine (`Hooked`).
    unsafe {
        let bytes = std::slice::from_raw_parts_mut(machine.as_mut_ptr().cast::<u8>(), size_of::<M>());
        rng.fill(bytes);
        machine.assume_init()
    }
}

fn agree_on_garbage<M: Hooked + PartialEq + std::fmt::Debug>(kernel: &mut Kernel<M>) {
    for seed in 100..102 {
        let start = garbage::<M>(&mut Rng::with_seed(seed));
        agree(kernel, &start, seed, op, None);
    }
}

#[test]
fn bounded_indices_are_verified_and_agree() {
    if !can_load() {
        return;
    }
    let mut kernel = load::<Bounds>();
    agree(&mut kernel, &Bounds::ZERO, 1, op, Some(&mut model::Bounds::default()));
    agree_on_garbage(&mut kernel);
}

#[test]
fn rings_are_verified_and_agree() {
    if !can_load() {
        return;
    }
    let mut kernel = load::<Rings>();
    agree(&mut kernel, &Rings::ZERO, 2, op, Some(&mut model::Rings::default()));
    agree_on_garbage(&mut kernel);
}

#[test]
fn class_maps_are_verified_and_agree() {
    if !can_load() {
        return;
    }
    let mut kernel = load::<Classes>();
    agree(&mut kernel, &Classes::ZERO, 3, op, Some(&mut model::Classes::default()));
    agree_on_garbage(&mut kernel);
}

/// Writes prefixes into the part of the words where a table is. Some come twice; a table may be full before its end.
fn write<const ROOT: u32, const STRIDE: u32, const LENGTH: usize>(
    words: &mut [u64],
    prefixes: &mut Vec<model::Prefix<LENGTH>>,
) {
    prefixes.sort_by_key(|prefix| prefix.length);
    let mut writer = StrideWriter::<ROOT, STRIDE>::new(words).unwrap();
    prefixes.retain(|prefix| writer.insert(&prefix.key, prefix.length, prefix.class).is_ok());
}

#[test]
fn stride_tables_are_verified_and_agree() {
    // A machine has half a mebibyte, and code that is not optimised copies it from one place of the stack to another.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(stride_tables).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn stride_tables() {
    if !can_load() {
        return;
    }
    let mut kernel = load::<Strides>();
    for seed in 4..8 {
        let mut rng = Rng::with_seed(seed);
        let mut model = model::Strides {
            coarse: model::prefixes::<1>(&mut rng, 400),
            fine: model::prefixes::<1>(&mut rng, 400),
            six: model::prefixes::<4>(&mut rng, 200),
        };
        let mut words = vec![0u64; WORDS];
        let (rest, fine) = words.split_at_mut(BASES[2]);
        let (coarse, six) = rest.split_at_mut(BASES[1]);
        write::<16, 8, 1>(coarse, &mut model.coarse);
        write::<12, 4, 1>(fine, &mut model.fine);
        write::<8, 8, 4>(six, &mut model.six);
        let counts = (model.coarse.len(), model.fine.len(), model.six.len());
        assert!(counts.0 > 100 && counts.1 > 100 && counts.2 > 50, "{counts:?}");
        let words: Box<[u64; WORDS]> = words.into_boxed_slice().try_into().unwrap();
        let keys = model.clone();
        let mut found = 0;
        let near = |rng: &mut Rng| {
            let op = keys.near(rng);
            found += usize::from(keys.class(&op) != 0);
            op
        };
        agree(&mut kernel, &Strides { words: *words }, seed, near, Some(&mut model));
        assert!(found > packets() * OPS / 4, "only {found} keys have a class");
    }
    agree_on_garbage(&mut kernel);
}
