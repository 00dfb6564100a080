//! What an input may take: time and memory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No input may take longer.
const MAX_TIME: Duration = Duration::from_secs(30);
/// No input may make the process larger.
const MAX_BYTES: u64 = 4 << 30;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends the process if an input takes more than is allowed.
pub(crate) struct Watch {
    began: Instant,
    /// When the running input began, in milliseconds since `began`.
    input_began_ms: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let watch = Self {
            began: Instant::now(),
            input_began_ms: Arc::default(),
        };
        let (began, input_began_ms) = (watch.began, watch.input_began_ms.clone());
        thread::spawn(move || {
            // It ends with the test: then nobody else has the counter.
            while Arc::strong_count(&input_began_ms) > 1 {
                let input_began = Duration::from_millis(input_began_ms.load(Ordering::Relaxed));
                let bytes = status_bytes("VmRSS:").unwrap_or(0);
                if began.elapsed() > input_began + MAX_TIME || bytes > MAX_BYTES {
                    eprintln!("an input takes too long or too much memory ({bytes} bytes)");
                    std::process::abort();
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        watch
    }

    pub(crate) fn next_input(&self) {
        let now_ms = self.began.elapsed().as_millis() as u64;
        self.input_began_ms.store(now_ms, Ordering::Relaxed);
    }
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
