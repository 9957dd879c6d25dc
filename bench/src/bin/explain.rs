//! Questions a second that `gabion explain --batch` answers, start and compilation included, on the example policy
//! and on the ClassBench sets that are there. `./x bench explain [RUNS]`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use gabion_bench::{Figure, load, report};
use gabion_testing_site::agent::binary;

type Failure = Box<dyn std::error::Error>;

/// Questions in one run.
const QUESTIONS: usize = 500_000;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(3), |runs| runs.parse())?;
    let before = load();
    let binary = binary().ok_or("there is no gabion beside this program; cargo build --release -p gabion")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = std::env::temp_dir().join(format!("gabion-bench-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    let outcome = measure_in(&work, &binary, here, runs);
    std::fs::remove_dir_all(&work)?;
    report("explain", before, &outcome?)?;
    Ok(())
}

fn measure_in(work: &Path, binary: &Path, here: &Path, runs: usize) -> Result<Vec<Figure>, Failure> {
    let mut policies = vec![("examples/substation".to_owned(), here.join("../examples/substation"))];
    let data = std::env::var_os("GABION_TEST_DATA").map_or_else(|| here.join("../../shared/data"), PathBuf::from);
    for set in ["acl1_10k", "fw1_10k", "ipc1_10k"] {
        let file = data.join("classbench").join(set);
        if !file.exists() {
            println!("skipped {set}: no {}", file.display());
            continue;
        }
        let out = work.join(set);
        let done =
            Command::new(binary).args(["policy", "import", "classbench"]).arg(&file).arg("--out").arg(&out).output()?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned().into());
        }
        policies.push((set.to_owned(), out));
    }
    let questions = work.join("questions");
    std::fs::write(&questions, questions_text())?;
    let mut values = vec![Vec::new(); policies.len()];
    for _ in 0..runs {
        for ((_, policy), values) in policies.iter().zip(&mut values) {
            let start = Instant::now();
            let status = Command::new(binary)
                .args(["explain", "--policy"])
                .arg(policy)
                .arg("--batch")
                .arg(&questions)
                .stdout(Stdio::null())
                .status()?;
            if !status.success() {
                return Err(format!("gabion explain ended with {status}").into());
            }
            values.push(QUESTIONS as f64 / start.elapsed().as_secs_f64() / 1e3);
        }
    }
    let named = policies.into_iter().zip(values);
    Ok(named.filter_map(|((name, _), values)| Figure::new(format!("{name} (thousand answers/s)"), values)).collect())
}

fn questions_text() -> String {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut text = String::new();
    for _ in 0..QUESTIONS {
        let address = |rng: &mut fastrand::Rng| std::net::Ipv4Addr::from(rng.u32(..));
        let (src, dst) = (address(&mut rng), address(&mut rng));
        let (proto, dport) = (["tcp", "udp"][rng.usize(0..2)], rng.u16(1..));
        // A String takes whatever is written to it.
        let _ = writeln!(text, r#"{{"src":"{src}","dst":"{dst}","proto":"{proto}","dport":{dport}}}"#);
    }
    text
}
