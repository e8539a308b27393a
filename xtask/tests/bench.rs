//! The benchmark runs from end to end: one shape, one second, our server alone. How fast that is, on a machine that
//! does other things too and with a debug build, says nothing and is not looked at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Where Cargo put this package's program it puts those of the others.
fn programs() -> &'static Path {
    let folder = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    if !["zkd", "zke-load"].iter().all(|program| folder.join(program).is_file()) {
        // They are there when the whole workspace is tested.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "--package", "zkd", "--package", "zke-bench"];
        assert!(Command::new(cargo).args(build).status().unwrap().success());
    }
    folder
}

#[test]
fn a_short_run_ends_with_a_table_and_json_and_leaves_nothing() {
    let target = std::env::temp_dir().join(format!("zke-bench-test-{}", std::process::id()));
    fs::create_dir_all(&target).unwrap();
    let json = target.join("figures.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_xtask"));
    bench.arg("bench").args(["--only", "zkd", "--members", "1", "--rounds", "1", "--seconds", "1"]);
    bench
        .args(["--quick", "--shape", "mixed-100-4x4", "--binaries"])
        .arg(programs())
        .arg("--json")
        .arg(&json);
    let output = bench.env("CARGO_TARGET_DIR", &target).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");

    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("mixed-100-4x4")), "{table}");
    let figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let record = &figures["records"][0];
    assert_eq!(record["product"], "zkd");
    assert!(record["ops"].as_u64().unwrap() > 0 && record["server_cpu_us_per_op"].as_f64().unwrap() > 0.0);
    assert!(record["server_rss_mib"].as_f64().unwrap() > 1.0, "{record}");
    for fault in ["errors", "wrong_bodies", "order_faults"] {
        assert_eq!(record[fault], 0, "{record}");
    }
    assert_eq!(fs::read_dir(target.join("bench")).unwrap().count(), 0, "data is left behind");
    fs::remove_dir_all(target).unwrap();
}
