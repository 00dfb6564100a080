//! What an input may take: time and memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No input may take more of a processor: other work on the machine may keep it waiting for longer.
const MAX_CPU: Duration = Duration::from_secs(30);
/// No input may take longer, even if it only waits.
const MAX_TIME: Duration = Duration::from_secs(600);
/// No input may make the process larger.
const MAX_BYTES: u64 = 4 << 30;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends the process if an input takes more than is allowed.
pub(crate) struct Watch {
    /// Number of the running input.
    input: Arc<AtomicU64>,
}

impl Watch {
    /// Watches the inputs of the calling thread.
    pub(crate) fn start() -> Self {
        let input = Arc::<AtomicU64>::default();
        let watch = Self {
            input: input.clone(),
        };
        let stat =
            fs::read_link("/proc/thread-self").map(|own| Path::new("/proc").join(own).join("stat"));
        let cpu = move || stat.as_ref().ok().and_then(|stat| cpu_time(stat));
        thread::spawn(move || {
            let mut began = (0, Instant::now(), cpu());
            // It ends with the test: then nobody else has the counter.
            while Arc::strong_count(&input) > 1 {
                let (running, now) = (input.load(Ordering::Relaxed), cpu());
                if running != began.0 {
                    began = (running, Instant::now(), now);
                }
                let used = now
                    .zip(began.2)
                    .map(|(now, began)| now.saturating_sub(began));
                let bytes = status_bytes("VmRSS:").unwrap_or(0);
                if used > Some(MAX_CPU) || began.1.elapsed() > MAX_TIME || bytes > MAX_BYTES {
                    eprintln!("an input takes too long or too much memory ({bytes} bytes)");
                    std::process::abort();
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        watch
    }

    pub(crate) fn next_input(&self) {
        self.input.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a thread has used a processor, where the system reports it.
fn cpu_time(stat: &Path) -> Option<Duration> {
    // The name of the thread may have spaces; the fields after it are numbered from 3.
    let stat = fs::read_to_string(stat).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    // Linux reports hundredths of a second on every platform.
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
}

/// The largest memory of this process so far, where the system reports it.
pub(crate) fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

fn status_bytes(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
