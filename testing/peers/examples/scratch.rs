//! scratch
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::pedantic)]
use gabion_policy_compile::{Options, compile};
use gabion_testing_peers::gabion::Gabion;
use gabion_testing_peers::live::{Generator, hot};
use gabion_testing_peers::rules::{Recipe, Variant, FLOWS};
use gabion_testing_peers::Contender;
use gabion_testing_peers::stand::{Addressee, Stand};
use std::time::Instant;
fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let live = std::env::var_os("LIVE").is_some();
    let data = std::path::PathBuf::from("/work/shared/data");
    let work = std::env::temp_dir().join(format!("scratch-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    for recipe in Recipe::all(&data) {
        if !names.contains(&recipe.name()) { continue; }
        let set = recipe.make().unwrap();
        let mut generator = Generator::new().unwrap();
        let mut drop = Contender::bare(&mut generator, 0, "drop", "peer_drop").unwrap();
        let mut marked = Contender::bare(&mut generator, 1, "verdict", "peer_marked").unwrap();
        let mut parse = Contender::bare(&mut generator, 2, "parse", "peer_parse").unwrap();
        let mut all = vec![("drop", drop), ("verdict", marked), ("parse", parse)];
        for (port, variant) in [(3, Variant::Stateless), (4, Variant::Stateful)] {
            let policies = set.policies(variant);
            let t = Instant::now();
            let mut options = Options::default();
            if let Ok(s) = std::env::var("SINGLE") { options.single_group_bytes = s.parse::<usize>().unwrap() << 20; }
            let compiled = compile(&policies, &options).unwrap();
            let took = t.elapsed();
            let stand = Stand::new(&mut generator, port, Addressee::Stranger).unwrap();
            let folder = work.join(port.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let g = Gabion::install(&stand, &policies, &compiled, &folder).unwrap();
            let loads = gabion_testing_peers::loads::count(&compiled, &set.trace);
            println!("{} {:?}: compile {:?} load {:?} bytes {} verified {} groups {}/{} cells {} lists {} jited {} loads {:?}", set.name, variant, took, g.load, compiled.stats.bytes, g.verified, compiled.stats.egress.groups, compiled.stats.ingress.groups, compiled.stats.ingress.cells, compiled.stats.ingress.lists, g.jited_bytes, loads);
            let name = if port == 3 { "stateless" } else { "written" };
            let c = Contender::gabion(&mut generator, name, stand, g).unwrap();
            all.push((name, c));
        }
        let n = 64;
        for (name, c) in &mut all {
            let program = c.program(&mut generator).unwrap().unwrap();
            let mut sums = [0.0, 0.0, 0.0, 0.0]; let mut counts = [0, 0, 0, 0];
            for i in 0..n {
                let at = i * (set.trace.len() / n - 1);
                let pass = set.expected[at];
                let ns = (0..3).map(|_| hot(program, &set.trace[at].frame(pass), 20000).unwrap()).fold(f64::MAX, f64::min);
                let k = usize::from(pass) + 2 * usize::from(set.trace[at].protocol == 6);
                sums[k] += ns; counts[k] += 1;
            }
            println!("{name:10} hot: denied {:.1} passed {:.1} tcp denied {:.1} passed {:.1} ({counts:?})", sums[0] / counts[0].max(1) as f64, sums[1] / counts[1].max(1) as f64, sums[2] / counts[2].max(1) as f64, sums[3] / counts[3].max(1) as f64);
        }
        if live {
            generator.take(&set.trace[..FLOWS], &set.expected[..FLOWS]).unwrap();
            let ports = [0, 1, 2, 3, 4];
            let mut v = vec![Vec::new(); 5];
            for _ in 0..8 { for p in ports { generator.send(p, FLOWS as u32).unwrap(); v[p as usize].push(generator.send(p, FLOWS as u32 * 3).unwrap()); } }
            let med = |x: &mut Vec<f64>| { x.sort_by(|a, b| a.total_cmp(b)); (x[x.len() / 2], x[0]) };
            let m: Vec<_> = v.iter_mut().map(med).collect();
            println!("live median(min): drop {:?} verdict {:?} parse {:?} stateless {:?} written {:?}; stateless beyond verdict {:.1} (min {:.1})", m[0], m[1], m[2], m[3], m[4], m[3].0 - m[1].0, m[3].1 - m[1].1);
        }
        for (_, c) in all { c.remove(&mut generator).unwrap(); }
    }
}
