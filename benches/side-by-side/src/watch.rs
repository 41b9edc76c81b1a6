//! CPU time of groups of processes, by the scheduler's own nanosecond count.

use std::fs;
use std::time::Instant;

use crate::Result;

/// A measured window over groups of processes.
pub struct Watch {
    groups: Vec<Vec<u32>>,
    started: Instant,
    before: Vec<u64>,
}

impl Watch {
    /// Groups as `12,13:14`; this process is the last group.
    pub fn start(pids: Option<&str>) -> Result<Self> {
        let mut groups = Vec::new();
        for group in pids.unwrap_or("").split(':').filter(|group| !group.is_empty()) {
            groups.push(group.split(',').map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?);
        }
        groups.push(vec![std::process::id()]);
        let before = groups.iter().map(|pids| cpu(pids)).collect();
        Ok(Self { groups, started: Instant::now(), before })
    }

    /// Prints `what` with the seconds of wall and of each group's CPU since the start.
    pub fn report(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu: Vec<String> = self
            .groups
            .iter()
            .zip(&self.before)
            .map(|(pids, before)| format!("{:.9}", (cpu(pids) - before) as f64 / 1e9))
            .collect();
        println!("{{{what}, \"seconds\": {seconds:.6}, \"cpu\": [{}]}}", cpu.join(", "));
    }
}

/// Nanoseconds that all threads of these processes have run (the first field of schedstat: user and system).
fn cpu(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}
