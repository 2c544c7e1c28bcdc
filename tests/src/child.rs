//! The binary as a child process.

use std::{
    io::Read,
    net::SocketAddr,
    process::{Child as Process, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for a child to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a child ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The one line that begins with `error:`.
    pub fn error(&self) -> &str {
        let mut errors = self.stderr.lines().filter(|line| line.starts_with("error:"));
        let error = errors.next().unwrap_or_default();
        assert!(errors.next().is_none(), "more than one error: {}", self.stderr);
        error
    }
}

/// A running child, killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: Process,
    stdout: Side,
    stderr: Side,
}

/// What came of one of its outputs so far, and the thread that reads on.
#[derive(Debug)]
struct Side {
    text: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Child {
    /// Starts a binary with these arguments.
    pub fn start(binary: &str, args: &[String]) -> Self {
        let mut process = Command::new(binary)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = Side::read(process.stdout.take().unwrap());
        let stderr = Side::read(process.stderr.take().unwrap());
        Self { process, stdout, stderr }
    }

    /// Waits until its log names an address after these words, as in "clients read it at http://".
    pub fn address_after(&mut self, words: &str) -> SocketAddr {
        let started = Instant::now();
        loop {
            let text = self.stderr.so_far();
            let line = text.lines().find_map(|line| line.split_once(words));
            if let Some((_, address)) = line {
                let address = address.split('/').next().unwrap_or_default();
                return address.trim().parse().expect("an address");
            }
            let running = self.process.try_wait().unwrap().is_none();
            assert!(running && started.elapsed() < PATIENCE, "no {words:?} in: {text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has printed so many lines, and gives them.
    pub fn lines(&mut self, count: usize) -> Vec<String> {
        let started = Instant::now();
        loop {
            let text = self.stdout.so_far();
            if text.matches('\n').count() >= count {
                return text.lines().take(count).map(str::to_owned).collect();
            }
            let running = self.process.try_wait().unwrap().is_none();
            assert!(running && started.elapsed() < PATIENCE, "not {count} lines: {text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) -> Finished {
        self.process.kill().unwrap();
        self.finish()
    }

    /// Asks it to end, as Ctrl-C or a service manager does.
    pub fn terminate(self) -> Finished {
        self.signal("TERM");
        self.finish()
    }

    /// Memory that it has resident, in bytes, as Linux counts it.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }

    /// Sends it a signal by its name, as in `USR1`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
    }

    /// Waits until it ends.
    pub fn finish(mut self) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the child does not end");
            thread::sleep(Duration::from_millis(10));
        };
        Finished { status, stdout: self.stdout.whole(), stderr: self.stderr.whole() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Side {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let part = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default());
                shared.lock().unwrap().push_str(&part);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}

/// Runs the binary to its end.
pub fn run(binary: &str, args: &[&str]) -> Finished {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    Child::start(binary, &args).finish()
}

/// Runs the binary to its end without holding up peers on the same runtime.
pub async fn finish(binary: &'static str, args: Vec<String>) -> Finished {
    tokio::task::spawn_blocking(move || Child::start(binary, &args).finish()).await.unwrap()
}
