//! Processes and cores.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The core of the Envoys that are measured, of which one is under load at a time.
pub(crate) const MEASURED: &str = "0";
/// The core of everything else.
pub(crate) const OTHERS: &str = "1";

/// Ties all threads of a process to a core.
pub(crate) async fn pin(id: u32, core: &str) -> Result<()> {
    let taskset = Command::new("taskset").args(["-a", "-c", "-p", core, &id.to_string()]).output();
    let output = taskset.await.context("taskset is missing; install util-linux")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The CPU time of all threads of a process, in nanoseconds.
pub(crate) fn cpu(id: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += schedstat.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(total)
}
