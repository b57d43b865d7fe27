//! Metrics of the process itself, under the names that Prometheus' client libraries use. They are read from `/proc`. Systems without it,
//! which are all but Linux, have none of these metrics. Reading takes some tens of microseconds.

use std::fs;

use metrics::{Unit, describe_counter, describe_gauge};

/// Clock ticks per second of times in `/proc`. This is a constant of the kernel's interface on all supported machines.
const TICKS: f64 = 100.0;

/// The metrics of the process; each is absent if it cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Figures {
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    /// CPU time in user and system mode.
    cpu_seconds: Option<f64>,
    /// The start of the process, in seconds since 1970-01-01T00:00:00Z.
    start_seconds: Option<f64>,
    open_files: Option<u64>,
    /// The soft limit; absent if unlimited.
    max_files: Option<u64>,
}

/// Registers the descriptions of the metrics.
pub(super) fn describe() {
    describe_counter!("process_cpu_seconds_total", Unit::Seconds, "Time on processors");
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Resident memory");
    describe_gauge!("process_virtual_memory_bytes", Unit::Bytes, "Virtual memory");
    describe_gauge!("process_open_fds", Unit::Count, "Open file descriptors");
    describe_gauge!("process_max_fds", Unit::Count, "File descriptors that may be open");
    describe_gauge!("process_threads", Unit::Count, "Threads");
    describe_gauge!(
        "process_start_time_seconds",
        Unit::Seconds,
        "When the process began, in seconds since 1970"
    );
}

/// Reads and records the metrics.
pub(super) fn record() {
    let figures = Figures::read();
    if let Some(seconds) = figures.cpu_seconds {
        // Counters are integers.
        metrics::counter!("process_cpu_seconds_total").absolute(seconds as u64);
    }
    for (name, value) in [
        ("process_resident_memory_bytes", figures.resident_bytes.map(|bytes| bytes as f64)),
        ("process_virtual_memory_bytes", figures.virtual_bytes.map(|bytes| bytes as f64)),
        ("process_open_fds", figures.open_files.map(|count| count as f64)),
        ("process_max_fds", figures.max_files.map(|count| count as f64)),
        ("process_threads", figures.threads.map(|count| count as f64)),
        ("process_start_time_seconds", figures.start_seconds),
    ] {
        if let Some(value) = value {
            metrics::gauge!(name).set(value);
        }
    }
}

impl Figures {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
        let figures = Self::of_stat(&text("/proc/self/stat"), &text("/proc/stat"));
        let figures = figures.with_status(&text("/proc/self/status"));
        // One of the files is the directory that is being read.
        let open_files = open_files.map(|count| count.saturating_sub(1));
        Self { open_files, max_files: max_files(&text("/proc/self/limits")), ..figures }
    }

    /// The times, from the stat line of the process and that of the system.
    fn of_stat(process: &str, system: &str) -> Self {
        // The name of the program is in parentheses, and may itself contain spaces and parentheses.
        let fields = process.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = |number: usize| {
            // The first field after the name is field 3 of the line.
            let field = fields.split_whitespace().nth(number - 3)?;
            field.parse::<f64>().ok()
        };
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
        let booted = booted.and_then(|seconds| seconds.trim().parse::<f64>().ok());
        let cpu_seconds = ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS);
        let start_seconds = booted.zip(ticks(22)).map(|(booted, ticks)| booted + ticks / TICKS);
        Self { cpu_seconds, start_seconds, ..Self::default() }
    }

    /// Adds memory and threads from the status file.
    fn with_status(self, status: &str) -> Self {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line?.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            resident_bytes: number("VmRSS:").map(|kib| kib << 10),
            virtual_bytes: number("VmSize:").map(|kib| kib << 10),
            threads: number("Threads:"),
            ..self
        }
    }
}

/// The soft limit of open files.
fn max_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "71 (a (b) c) S 1 71 71 0 -1 4194560 900 0 1 0 250 125 0 0 20 0 9 0 \
                        4200 1000000 250 18446744073709551615";
    const STATUS: &str = "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\nThreads:\t9\n";
    const LIMITS: &str = "Limit            Soft Limit  Hard Limit  Units\n\
                          Max open files   1024        524288      files\n";

    #[test]
    fn what_proc_says_is_read() {
        let figures = Figures::of_stat(STAT, "cpu 1 2\nbtime 1700000000\n").with_status(STATUS);
        let expected = Figures {
            resident_bytes: Some(512 << 10),
            virtual_bytes: Some(2048 << 10),
            threads: Some(9),
            cpu_seconds: Some(3.75),
            start_seconds: Some(1_700_000_042.0),
            ..Figures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(max_files(LIMITS), Some(1024));
        assert_eq!(max_files(&LIMITS.replace("1024", "unlimited")), None);
        assert_eq!(Figures::of_stat("", "").with_status(""), Figures::default());
        assert_eq!(Figures::of_stat("1 (a) S x", "btime x"), Figures::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_figures_of_this_process_are_plausible() {
        let held = fs::File::open("/proc/self/stat").unwrap();
        let figures = Figures::read();
        drop(held);
        assert!(figures.resident_bytes.unwrap() > 1 << 20, "{figures:?}");
        assert!(figures.virtual_bytes >= figures.resident_bytes && figures.threads > Some(0));
        assert!(figures.open_files.unwrap() >= 4 && figures.max_files >= figures.open_files);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - figures.start_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "it began {age} s ago");
        assert!(figures.cpu_seconds.unwrap() >= 0.0);
    }
}
