//! What a process costs, and on which core it runs: for benchmarks, which measure other processes than their own.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The core of what is measured, of which one variant is under load at a time.
pub const MEASURED: &str = "0";
/// The core of everything else.
pub const OTHERS: &str = "1";

/// Ties all threads of a process to a core.
///
/// # Errors
/// There is no such process or core, or no `taskset`.
pub async fn pin(id: u32, core: &str) -> Result<()> {
    let taskset = Command::new("taskset").args(["-a", "-c", "-p", core, &id.to_string()]).output();
    let output = taskset.await.context("taskset is missing; install util-linux")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The CPU time of all threads of a process, in nanoseconds.
///
/// # Errors
/// There is no such process.
pub fn cpu(id: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += schedstat.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(total)
}

/// The memory that a process has, in bytes.
///
/// # Errors
/// There is no such process.
pub fn resident(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kibibytes * 1024)
}
