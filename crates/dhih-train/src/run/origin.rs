//! The origin of a run: the program and the machine that trained it, recorded when it begins, so that figures can be traced. `run_dir.rs`
//! records settings and data.

use serde::{Deserialize, Serialize};

/// A program on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The commit that the program was built from.
    pub commit: String,
    /// The model of the processor, the number of its cores that the program may use, and the operating system.
    pub machine: String,
    /// The number of computing threads.
    pub threads: usize,
    /// The instruction set of the Hamming kernels: the widest that the machine has, unless `DHIH_ISA` names another.
    pub isa: String,
}

/// The commit this program was built from.
pub const COMMIT: &str = env!("DHIH_COMMIT");

impl Origin {
    /// This program on this machine.
    pub fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": ")).map_or("processor", |pair| pair.1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        Self {
            commit: COMMIT.to_owned(),
            machine: format!("{model}, {cores} cores, {system} {architecture}"),
            threads: rayon::current_num_threads(),
            isa: dhih_index::hamming::isa().unwrap_or("unknown").to_owned(),
        }
    }

    /// The differences to `other`, each as `name: ours, theirs`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |origin: &Self| {
            let Self { commit, machine, threads, isa } = origin.clone();
            [
                ("commit", commit),
                ("machine", machine),
                ("threads", threads.to_string()),
                ("isa", isa),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        let differing = pairs.filter(|(ours, theirs)| ours != theirs);
        differing.map(|((name, ours), (_, theirs))| format!("{name}: {ours}, {theirs}")).collect()
    }
}
