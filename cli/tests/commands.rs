//! The command as its users meet it: what it prints, and the exit codes that scripts rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PLANT: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Site
metadata: {name: plant}
spec:
  interfaces:
    - {name: scada0, role: scada, addresses: [10.0.0.1]}
    - {name: bus0, role: station-bus, addresses: [10.0.1.1]}
---
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: devices}
spec:
  entries:
    - {name: hmi, labels: {role: hmi}, addresses: [10.0.0.10, 'fd00::10']}
    - {name: rtu, labels: {role: rtu}, addresses: [10.0.1.20, 'fd00:1::20'], ports: {modbus: tcp/502}}
    - {name: ied, labels: {role: ied}, macs: ['02:00:00:00:00:01']}
---
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: rtu}
spec:
  subject: {labels: {role: rtu}}
  ingress:
    - name: modbus
      from: [{labels: {role: hmi}}]
      services: [{ports: modbus}]
";

fn gabion(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gabion"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that does not read its input closes it early.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command and holds it to an exit code.
fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    expect_with(code, arguments, b"")
}

fn expect_with(code: i32, arguments: &[&str], input: &[u8]) -> (String, String) {
    let output = gabion(arguments, input);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

struct Plant {
    folder: tempfile::TempDir,
}

impl Plant {
    fn new() -> Self {
        let plant = Self { folder: tempfile::tempdir().unwrap() };
        plant.write("plant.yaml", PLANT);
        plant
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Asks one question; `code` is the expected exit code.
    fn explain(&self, code: i32, question: &[&str]) -> Value {
        let path = self.path();
        let mut arguments = vec!["explain", "--output", "json", "--policy", &path];
        arguments.extend(question);
        json(&expect(code, &arguments).0)
    }

    fn refused(&self, question: &[&str]) -> String {
        let path = self.path();
        let mut arguments = vec!["explain", "--policy", &path];
        arguments.extend(question);
        expect(2, &arguments).1
    }
}

#[test]
fn every_command_has_help() {
    for command in [
        &[][..],
        &["policy"],
        &["policy", "check"],
        &["policy", "schema"],
        &["policy", "compile"],
        &["policy", "import"],
        &["policy", "diff"],
        &["policy", "test"],
        &["doctor"],
        &["explain"],
        &["completions"],
    ] {
        let (out, _) = expect(0, &[command, &["--help"]].concat());
        assert!(out.contains("Usage: gabion"), "{command:?}: {out}");
    }
    assert!(expect(0, &[]).0.contains("Exit codes"));
    let help = expect(0, &["explain", "--help"]).0.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("return traffic of what is allowed passes"), "{help}");
    assert!(expect(2, &["polcy"]).1.contains("policy"), "a wrong command suggests the right one");
    assert!(expect(0, &["completions", "bash"]).0.contains("_gabion"));
}

#[test]
fn check_summarises_what_is_fine() {
    let plant = Plant::new();
    let (out, err) = expect(0, &["policy", "check", &plant.path()]);
    assert!(out.contains("3 documents, 1 rule, 2 subjects in 1 file"), "{out}");
    assert_eq!(err, "");
    let checked = json(&expect(0, &["policy", "check", "-o", "json", &plant.path()]).0);
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["summary"]["inventoryEntries"], 3);
}

#[test]
fn check_reports_every_error_with_its_place() {
    let plant = Plant::new();
    let a = plant.write("a.yaml", PLANT.replace("from: [{labels", "form: [{labels").replace("name: plant", "nam: x"));
    let b = plant.write("b.yaml", "kind: [\n");
    let (out, err) = expect(2, &["policy", "check", &a, &b]);
    assert!(err.contains("a.yaml:3:12: error[GABION-P"), "{err}");
    assert!(err.contains("a.yaml:25:7: error[GABION-P006]"), "{err}");
    assert!(err.contains("b.yaml:"), "{err}");
    assert!(err.contains("help:"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours where there is no terminal: {err}");
    assert!(out.starts_with("not usable"), "{out}");
    let checked = json(&expect(2, &["policy", "check", "-o", "json", &a, &b]).0);
    let first = &checked["problems"][0];
    assert!(first["file"].as_str().unwrap().ends_with("a.yaml"));
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(3), Some(12)));
}

#[test]
fn files_that_cannot_be_policy_are_named() {
    let plant = Plant::new();
    let empty = plant.write("empty.yaml", "");
    assert!(expect(2, &["policy", "check", &empty]).1.contains("empty.yaml"));
    let truncated = plant.write("truncated.yaml", &PLANT[..PLANT.len() - 40]);
    assert!(expect(2, &["policy", "check", &truncated]).1.contains("truncated.yaml:"));
    let binary = plant.write("binary.yaml", b"apiVersion: \xff\xfe");
    let (_, err) = expect(2, &["policy", "check", &binary]);
    assert!(err.contains("binary.yaml:1:1") && err.contains("UTF-8"), "{err}");
    let (_, err) = expect(2, &["policy", "check", "/nowhere/policy.yaml"]);
    assert!(err.contains("/nowhere/policy.yaml") && err.contains("no such file"), "{err}");
    let deep = plant.write("deep.yaml", "[".repeat(100_000));
    assert!(expect(2, &["policy", "check", &deep]).1.contains("deep.yaml"));
    let nothing = plant.folder.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    assert!(expect(2, &["policy", "check", &nothing.display().to_string()]).1.contains("no policy in this folder"));
    // A device that never ends is read up to the limit only.
    assert!(expect(2, &["policy", "check", "/dev/zero"]).1.contains("/dev/zero"));
}

#[test]
fn folders_are_read_without_what_is_not_policy() {
    let plant = Plant::new();
    plant.write("below/more.yml", PLANT.split("---").nth(2).unwrap().replace("name: rtu}", "name: more}"));
    plant.write(".hidden.yaml", "not: policy");
    plant.write("notes.txt", "not: policy");
    plant.write("plant.test.yaml", "not: policy");
    plant.write("probes.yaml", "kind: PolicyTest\nnot: policy\n");
    std::os::unix::fs::symlink("/nowhere", plant.folder.path().join("dangling.txt")).unwrap();
    std::os::unix::fs::symlink(plant.folder.path(), plant.folder.path().join("loop")).unwrap();
    let (out, _) = expect(0, &["policy", "check", &plant.path()]);
    assert!(out.contains("2 files"), "{out}");
    // Named twice is read once.
    let file = plant.folder.path().join("plant.yaml").display().to_string();
    expect(0, &["policy", "check", &plant.path(), &file]);
    expect(0, &["policy", "check", &plant.path(), &plant.path()]);
    // A folder that is linked to counts.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("wrong.yaml"), "not: policy").unwrap();
    let link = plant.folder.path().join("linked");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    assert!(expect(2, &["policy", "check", &plant.path()]).1.contains("linked/wrong.yaml"));
    fs::remove_file(link).unwrap();
    // Opening a FIFO would wait for a writer.
    let fifo = plant.folder.path().join("fifo.yaml");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(expect(2, &["policy", "check", &plant.path()]).1.contains("fifo.yaml: error[not-a-file]"));
    fs::remove_file(fifo).unwrap();
    std::os::unix::fs::symlink("/nowhere", plant.folder.path().join("dangling.yaml")).unwrap();
    assert!(expect(2, &["policy", "check", &plant.path()]).1.contains("leads nowhere"));
}

#[test]
fn policy_comes_from_stdin_too() {
    expect_with(0, &["policy", "check", "-"], PLANT.as_bytes());
    assert!(expect_with(2, &["policy", "check", "-"], b"kind: 1").1.contains("<stdin>:1:"));
}

#[test]
fn the_schema_is_one_of_json_schema() {
    let all = json(&expect(0, &["policy", "schema"]).0);
    assert!(all["$defs"]["Site"].is_object());
    let policy = json(&expect(0, &["policy", "schema", "--kind", "policy"]).0);
    assert_eq!(policy["$ref"], "#/$defs/Policy");
    assert!(policy["$defs"]["Rule"].is_object() && policy["$defs"]["Site"].is_null());
    assert!(json(&expect(0, &["policy", "schema", "--kind", "PolicyTest"]).0)["properties"]["tests"].is_object());
    assert!(expect(2, &["policy", "schema", "--kind", "Polcy"]).1.contains("Policy"));
}

#[test]
fn compile_says_what_fits_and_what_does_not() {
    let plant = Plant::new();
    let output = gabion(&["policy", "compile", "--stats", "-o", "json", &plant.path()], b"");
    // Who may not load programs hears of all else, and what is missing.
    match output.status.code() {
        Some(0) => {}
        Some(3) => assert!(text(&output.stderr).contains("CAP_BPF"), "{}", text(&output.stderr)),
        // Built without the kernel programs.
        _ => assert!(text(&output.stderr).contains("./x doctor"), "{}", text(&output.stderr)),
    }
    let size = json(&text(&output.stdout));
    assert_eq!(size["fits"], true);
    assert!(size["loadChain"]["ipv4"].as_u64().unwrap() > 0);
    assert!(size["tables"].as_array().unwrap().iter().any(|table| table["name"] == "address tries"));
    assert!(size["bytes"].as_u64().unwrap() > 0 && size["ingress"]["list"].as_u64().unwrap() > 0);
    let (out, _) = expect(1, &["policy", "compile", "--table-bytes", "64", &plant.path()]);
    assert!(out.contains("does not fit") && out.contains("64"), "{out}");
}

#[test]
fn explain_answers_with_rule_and_reason() {
    let plant = Plant::new();
    let question = ["--src", "hmi", "--dst", "rtu", "--proto", "tcp", "--dport", "502"];
    let allowed = plant.explain(0, &question);
    assert_eq!((&allowed["verdict"], &allowed["rule"]), (&"allow".into(), &"rtu/modbus".into()));
    assert_eq!(allowed["egress"]["rule"], "default/egress");

    let denied = plant.explain(1, &["--src", "10.0.0.66", "--dst", "rtu", "--proto", "tcp", "--dport", "502"]);
    assert_eq!((&denied["verdict"], &denied["rule"]), (&"deny".into(), &"rtu/isolation".into()));
    assert_eq!(denied["tier"], "policy");
    let close = &denied["close"][0];
    assert_eq!((&close["rule"], &close["missed"][0]["field"]), (&"rtu/modbus".into(), &"from".into()));

    // What is proposed works.
    let yaml = denied["wouldAllow"][0]["yaml"].as_str().unwrap();
    plant.write("mended.yaml", yaml);
    assert_eq!(
        plant.explain(0, &["--src", "10.0.0.66", "--dst", "rtu", "--proto", "tcp", "--dport", "502"])["verdict"],
        "allow"
    );
}

#[test]
fn hooks_ask_the_ends_that_they_see() {
    let plant = Plant::new();
    let ask = |code, dst, rest: &[&str]| {
        let question = ["--src", "10.0.0.66", "--dst", dst, "--proto", "tcp", "--dport", "502"];
        plant.explain(code, &[&question, rest].concat())
    };
    let forwarded = ask(1, "rtu", &["--in", "scada0"]);
    assert!(forwarded["egress"].is_object() && forwarded["ingress"].is_object());
    let local = ask(0, "10.0.1.1", &["--in", "scada0"]);
    assert!(local["egress"].is_null() && local["ingress"].is_object());
    let leaving = ask(0, "rtu", &["--out", "bus0"]);
    assert!(leaving["egress"].is_object() && leaving["ingress"].is_null());
    let both = ask(1, "rtu", &["--in", "scada0", "--out", "bus0"]);
    assert!(both["egress"].is_object() && both["ingress"].is_object());
}

#[test]
fn the_way_out_is_not_known_where_a_packet_arrives() {
    let plant = Plant::new();
    let deny = "\
apiVersion: gabion.dev/v1alpha1
kind: ClusterPolicy
metadata: {name: shut}
spec:
  tier: {name: t, order: 1}
  subject: any
  egress:
    - {name: bus, action: deny, to: [{interface: bus0}]}
";
    plant.write("shut.yaml", deny);
    let question = |src, rest: &[&'static str]| {
        [&["--src", src, "--dst", "10.0.1.99", "--proto", "tcp", "--dport", "80"], rest].concat()
    };
    let forwarded = plant.explain(0, &question("10.0.0.66", &["--in", "scada0", "--out", "bus0"]));
    assert!(forwarded["notes"].to_string().contains("not yet known that it leaves by bus0"), "{forwarded}");
    // From an interface that is not guarded it is judged where it leaves, and so is what the node sends.
    plant.explain(1, &question("10.0.0.66", &["--in", "wlan0", "--out", "bus0"]));
    plant.explain(1, &question("10.0.0.1", &["--out", "bus0"]));
    let (_, warned) = expect(0, &["policy", "check", &plant.path()]);
    assert!(warned.contains("GABION-P109"), "{warned}");
}

#[test]
fn a_failsafe_port_passes_whatever_policy_says() {
    let plant = Plant::new();
    let deny = PLANT.split("---").nth(2).unwrap().replace("name: rtu}", "name: shut}");
    plant.write("shut.yaml", deny.replace("{labels: {role: rtu}}", "{cidr: 10.0.1.1/32}"));
    let ask = |code, port| {
        let question = ["--src", "10.0.0.66", "--dst", "10.0.1.1", "--proto", "tcp", "--dport", port, "--in", "scada0"];
        plant.explain(code, &question)
    };
    assert_eq!(ask(1, "23")["rule"], "shut/isolation");
    let ssh = ask(0, "22");
    assert!(ssh["reason"].as_str().unwrap().contains("fail-safe"), "{ssh}");
}

#[test]
fn questions_that_make_no_sense_are_refused_with_a_remedy() {
    let plant = Plant::new();
    for (question, said) in [
        (&["--src", "hmi", "--dst", "rtu", "--dport", "502"][..], "proto is missing"),
        (&["--src", "hmii", "--dst", "rtu"], "did you mean hmi?"),
        (&["--src", "10.0.0.1", "--dst", "fd00::1"], "contradict"),
        (&["--src", "02:00:00:00:00:01", "--dst", "01:0c:cd:01:00:01"], "ethertype is missing"),
        (&["--src", "10.0.0.1", "--dst", "rtu", "--ethertype", "goose"], "contradict"),
        (&["--src", "hmi", "--dst", "rtu", "--proto", "tcp", "--dport", "70000"], "65535"),
        (&["--src", "hmi", "--dst", "rtu", "--proto", "tcp", "--dport", "0502"], "65535"),
        (&["--src", "hmi", "--dst", "rtu", "--proto", "tcp", "--icmp", "8/0"], "contradict"),
        (&["--src", "hmi", "--dst", "rtu", "--proto", "tcp", "--flags", "sin"], "syn"),
        (&["--src", "hmi"], "dst is missing"),
        (&["--src", "hmi", "--dst", "rtu", "--in", "a/b"], "interface"),
        (&["--src", "hmi", "--dst", "rtu", "--inner-vlan", "5"], "vlan is missing"),
    ] {
        let err = plant.refused(question);
        assert!(err.contains(said), "{question:?}: {err}");
    }
}

#[test]
fn icmp_follows_the_family_and_frames_have_no_addresses() {
    let plant = Plant::new();
    let v6 = plant.explain(1, &["--src", "fd00::10", "--dst", "rtu", "--icmp", "128/0"]);
    assert!(v6["packet"]["content"].as_str().unwrap().starts_with("icmpv6 128/0"), "{v6}");
    let goose = plant.explain(0, &["--src", "ied", "--dst", "01:0c:cd:01:00:01", "--ethertype", "goose"]);
    assert_eq!(goose["packet"]["content"], "EtherType goose");
    let code = plant.explain(1, &["--src", "hmi", "--dst", "rtu", "--icmp", "destination-unreachable/1"]);
    assert!(code["packet"]["content"].as_str().unwrap().starts_with("icmp 3/1"), "{code}");
}

#[test]
fn tables_are_for_people_and_yaml_is_yaml() {
    let plant = Plant::new();
    let path = plant.path();
    let question =
        ["explain", "--policy", &path, "--src", "10.0.0.66", "--dst", "rtu", "--proto", "tcp", "--dport", "502"];
    let (out, _) = expect(1, &question);
    assert!(out.starts_with("deny  10.0.0.66 → 10.0.1.20"), "{out}");
    assert!(out.contains("from: wants labels {role=hmi}"), "{out}");
    assert!(out.contains("kind: Policy"), "{out}");
    let (yaml, _) = expect(1, &[&question[..], &["-o", "yaml"]].concat());
    let parsed: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(parsed["rule"], "rtu/isolation");
}

#[test]
fn a_batch_answers_every_line_in_order() {
    let plant = Plant::new();
    let questions = concat!(
        r#"{"src":"hmi","dst":"rtu","proto":"tcp","dport":502}"#,
        "\n",
        r#"{"src":"10.0.0.66","dst":"10.0.1.20","proto":6,"sport":"1024","dport":"502","flags":"syn"}"#,
        "\n",
        "nonsense\n",
        "\n",
        r#"{"src":"hmi","dst":"rtu","prot":"tcp"}"#,
        "\n",
        r#"{"src":"hmi","dst":"rtu","proto":"tcp","dport":-1}"#,
        "\n",
        r#"{"src":"10.0.0.66","dst":"rtu","proto":"tcp","dport":502,"out":"bus0"}"#,
        "\n",
        r#"{"src":null,"dst":"rtu","icmp":"8/0"}"#,
        "\n",
        r#"{"src":"hmi","dst":"rtu","icmp":8}"#,
    );
    let (out, err) = expect_with(2, &["explain", "--policy", &plant.path(), "--batch", "-"], questions.as_bytes());
    assert_eq!(err, "");
    let answers: Vec<Value> = out.lines().map(json).collect();
    let verdicts: Vec<_> = answers.iter().map(|a| a["verdict"].as_str().unwrap_or("error")).collect();
    assert_eq!(verdicts, ["allow", "deny", "error", "error", "error", "error", "allow", "error", "deny"]);
    assert_eq!(answers[0]["rule"], "rtu/modbus");
    assert_eq!(answers[1]["tier"], "policy");
    assert_eq!((&answers[2]["line"], answers[2]["error"].is_string()), (&3.into(), true));
    let good = questions.lines().next().unwrap();
    expect_with(0, &["explain", "--policy", &plant.path(), "--batch", "-"], good.as_bytes());
}

#[test]
fn a_question_in_a_batch_is_an_object_and_its_errors_name_columns_only() {
    let plant = Plant::new();
    let questions = b"[\"hmi\",\"rtu\",null,null,6,1024,502]\n{}\n {\"src\":\"hmi\",\"dport\":true}\n";
    let (out, _) = expect_with(2, &["explain", "--policy", &plant.path(), "--batch", "-"], questions);
    let errors: Vec<_> = out.lines().map(|line| json(line)["error"].as_str().unwrap().to_owned()).collect();
    assert!(errors[0].contains("one JSON object a line"), "{}", errors[0]);
    assert!(errors[2].ends_with("at column 26"), "{}", errors[2]);
}

#[test]
fn a_batch_survives_endless_lines_and_says_which_file_is_missing() {
    let plant = Plant::new();
    let good = "{\"src\":\"hmi\",\"dst\":\"rtu\",\"proto\":\"tcp\",\"dport\":502}\n";
    let questions = format!("{}\n{good}{}", "x".repeat(3 << 20), "y".repeat(3 << 20));
    let (out, _) = expect_with(2, &["explain", "--policy", &plant.path(), "--batch", "-"], questions.as_bytes());
    let kinds: Vec<_> = out.lines().map(|line| json(line)["verdict"].as_str().map(str::to_owned)).collect();
    assert_eq!(kinds, [None, Some("allow".to_owned()), None]);
    let (_, err) = expect(2, &["explain", "--policy", &plant.path(), "--batch", "/nowhere/q.jsonl"]);
    assert!(err.contains("/nowhere/q.jsonl"), "{err}");
}

#[test]
fn a_batch_says_what_single_questions_say() {
    let plant = Plant::new();
    let questions: Vec<(&str, &str, &str)> = ["hmi", "rtu", "10.0.0.66", "10.0.1.1"]
        .into_iter()
        .flat_map(|src| ["hmi", "rtu", "10.0.1.1"].map(|dst| (src, dst)))
        .flat_map(|(src, dst)| ["22", "502"].map(|port| (src, dst, port)))
        .collect();
    let line = |&(src, dst, port): &(&str, &str, &str)| {
        format!("{{\"src\":\"{src}\",\"dst\":\"{dst}\",\"proto\":\"tcp\",\"dport\":{port},\"in\":\"scada0\"}}\n")
    };
    let batch: String = questions.iter().map(line).collect();
    let (out, _) = expect_with(0, &["explain", "--policy", &plant.path(), "--batch", "-"], batch.as_bytes());
    for (&(src, dst, port), said) in questions.iter().zip(out.lines()) {
        let said = json(said);
        let code = i32::from(said["verdict"] == "deny");
        let question = ["--src", src, "--dst", dst, "--proto", "tcp", "--dport", port, "--in", "scada0"];
        let single = plant.explain(code, &question);
        for field in ["verdict", "rule", "tier", "reason", "direction"] {
            assert_eq!(said[field], single[field], "{src} {dst} {port} {field}");
        }
    }
    assert_eq!(out.lines().count(), questions.len());
}

const PROBES: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: PolicyTest
policies: [.]
tests:
  - name: the HMI polls
    from: hmi
    to: rtu
    protocol: tcp
    port: 502
    expect: allow
    rule: rtu/modbus
  - {name: nobody else does, from: 10.0.0.66, to: rtu, protocol: tcp, port: 502, expect: deny}
";

#[test]
fn policy_tests_pass_fail_and_name_their_place() {
    let plant = Plant::new();
    let file = plant.write("plant.test.yaml", PROBES);
    let (out, _) = expect(0, &["policy", "test", &file]);
    assert!(out.contains("2 passed, 0 failed"), "{out}");

    let wrong = plant.write("wrong.test.yaml", PROBES.replace("expect: deny", "expect: allow"));
    let (out, _) = expect(1, &["policy", "test", &wrong]);
    assert!(out.contains("wrong.test.yaml:12:5: nobody else does"), "{out}");
    assert!(out.contains("- verdict: allow\n      + verdict: deny"), "{out}");
    let results = json(&expect(1, &["policy", "test", "-o", "json", &wrong]).0);
    assert_eq!((&results["passed"], &results["failed"]), (&1.into(), &1.into()));

    let rule = plant.write("rule.test.yaml", PROBES.replace("rule: rtu/modbus", "rule: rtu/other"));
    assert!(expect(1, &["policy", "test", &rule]).0.contains("+ rule: rtu/modbus"));
    let unknown = plant.write("unknown.test.yaml", PROBES.replace("from: hmi", "from: hmm"));
    assert!(expect(2, &["policy", "test", &unknown]).0.contains("did you mean hmi?"));
    let key = plant.write("key.test.yaml", PROBES.replace("    port: 502", "    prot: 502"));
    assert!(expect(2, &["policy", "test", &key]).1.contains("key.test.yaml:9:"));
    let none = plant.write("none.test.yaml", PROBES.replace("policies: [.]\n", ""));
    expect(0, &["policy", "test", &none]);
    expect(0, &["policy", "test", &none, "--policy", &plant.path()]);

    // A file that is named twice is read once, and the next one keeps its own folder.
    let other = Plant::new();
    other.write("plant.yaml", PLANT.replace("[{labels: {role: hmi}}]", "nobody"));
    let beside = other.write("other.test.yaml", PROBES);
    let (out, _) = expect(1, &["policy", "test", &file, &file, &beside]);
    assert!(out.contains("3 passed, 1 failed"), "{out}");
}

#[test]
fn a_file_with_tests_and_policy_is_not_passed_over() {
    let plant = Plant::new();
    let shut =
        "apiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {name: shut}\nspec: {subject: any, ingress: []}\n";
    plant.write("mixed.yaml", format!("{PROBES}---\n{shut}"));
    let (_, err) = expect(2, &["policy", "check", &plant.path()]);
    assert!(err.contains("`PolicyTest` is not a kind of document") && err.contains("files of their own"), "{err}");
    plant.write("mixed.yaml", PROBES);
    expect(0, &["policy", "check", &plant.path()]);
}

#[test]
fn documents_are_counted_in_any_form() {
    let flow = br#"{"apiVersion": "gabion.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p"},
                   "spec": {"subject": "any", "ingress": []}}"#;
    let (out, _) = expect_with(0, &["policy", "check", "-"], flow);
    assert!(out.contains("1 document,"), "{out}");
}

#[test]
fn a_stream_that_takes_nothing_is_no_defect() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |arguments: &[&str], out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).status().unwrap().code()
    };
    assert_eq!(run(&["policy", "check", "/nowhere"], Stdio::null(), full().into()), Some(2));
    assert_eq!(run(&["policy"], Stdio::null(), full().into()), Some(2));
    for answer in [&["policy", "schema"][..], &["--help"], &["explain", "--help"], &["--version"]] {
        assert_eq!(run(answer, full().into(), Stdio::null()), Some(3), "{answer:?}");
    }
}

#[test]
fn a_folder_where_a_file_belongs_is_the_callers_mistake() {
    let plant = Plant::new();
    assert!(expect(2, &["explain", "--policy", &plant.path(), "--batch", &plant.path()]).1.contains("is a directory"));
    let (file, set) = (plant.write("file", "x"), plant.write("filters", FILTERS));
    assert!(expect(2, &["policy", "import", "classbench", &set, "--out", &file]).1.contains("file exists"));
}

#[test]
fn an_import_of_nothing_is_policy_too() {
    let plant = Plant::new();
    let empty = plant.write("empty.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
    let out = plant.folder.path().join("out").display().to_string();
    assert!(expect(0, &["policy", "import", "k8s", &empty, "--out", &out]).1.contains("nothing to import"));
    expect(
        0,
        &["explain", "--policy", &out, "--src", "10.0.0.1", "--dst", "10.0.0.2", "--proto", "tcp", "--dport", "1"],
    );
    let (yaml, _) = expect(0, &["policy", "import", "k8s", &empty]);
    expect_with(0, &["policy", "check", "-"], yaml.as_bytes());
}

const FILTERS: &str = "@10.0.0.0/8\t10.1.0.0/16\t0 : 65535\t80 : 80\t0x06/0xFF\t0x0000/0x0000\t\n\
                       @0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";

#[test]
fn imports_are_policy() {
    let plant = Plant::new();
    let set = plant.write("filters_1k", FILTERS);
    let (yaml, _) = expect(0, &["policy", "import", "classbench", &set, "--actions", "alternate"]);
    expect_with(0, &["policy", "check", "-"], yaml.as_bytes());
    let file = plant.write("imported/policy.yaml", yaml);
    let ask = |code, port| {
        let question = ["--src", "10.0.0.9", "--dst", "10.1.0.9", "--proto", "tcp", "--dport", port];
        json(&expect(code, &[&["explain", "-o", "json", "--policy", &file][..], &question].concat()).0)
    };
    assert!(ask(0, "80")["rule"].as_str().unwrap().ends_with("-0"));
    assert!(ask(1, "81")["rule"].as_str().unwrap().ends_with("-1"));

    let wrong = plant.write("wrong", "@10.0.0.0/99\n");
    let (out, err) = expect(2, &["policy", "import", "classbench", &wrong]);
    assert!(out.is_empty() && err.contains("wrong:1:"), "{err}");
    assert!(expect(2, &["policy", "import", "k8s", &set, "--actions", "deny"]).1.contains("classbench"));
}

#[test]
fn imports_do_not_overwrite() {
    let plant = Plant::new();
    let set = plant.write("filters", FILTERS);
    let out = plant.folder.path().join("out");
    let arguments = ["policy", "import", "classbench", &set, "--out", out.to_str().unwrap()];
    let (names, _) = expect(0, &arguments);
    let written = Path::new(names.trim());
    assert!(written.starts_with(&out) && names.trim().ends_with(".yaml"), "{names}");
    expect(0, &["policy", "check", names.trim()]);
    fs::write(written, "mine").unwrap();
    assert!(expect(2, &arguments).1.contains("--force"));
    assert_eq!(fs::read_to_string(written).unwrap(), "mine");
    expect(0, &[&arguments[..], &["--force"]].concat());
    assert_ne!(fs::read_to_string(written).unwrap(), "mine");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "no drafts are left");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let plant = Plant::new();
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_gabion")).args(["policy", "schema"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    drop(plant);
}

#[test]
fn an_import_leaves_nothing_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (objects, out) = (folder.path().join("objects.yaml"), folder.path().join("out"));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}\nstatus: {podIP: 10.0.0.1}\n";
    let shut = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: shut}\n\
                spec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n";
    let (objects, out) = (objects.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["policy", "import", "k8s", objects, "--out", out];
    fs::write(objects, format!("{pod}{shut}")).unwrap();
    expect(0, &arguments);
    let policy = Path::new(out).join("objects-cluster-policies.yaml");
    assert!(policy.exists());
    // The policy was deleted from the cluster: it must not stay in force here.
    fs::write(objects, pod).unwrap();
    assert!(expect(2, &arguments).1.contains("--force"));
    fs::remove_file(Path::new(out).join("objects-inventory.yaml")).unwrap();
    assert!(expect(2, &arguments).1.contains("objects-cluster-policies.yaml is there already"));
    expect(0, &[&arguments[..], &["--force"]].concat());
    assert!(!policy.exists());
}
