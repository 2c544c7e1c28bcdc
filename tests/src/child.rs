//! The binary as a child process.

use std::{
    io::Read,
    net::TcpListener,
    path::PathBuf,
    process::{Child as Process, Command, ExitStatus, Stdio},
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
    stdout: Option<thread::JoinHandle<String>>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Child {
    /// Starts a binary with these arguments.
    pub fn start(binary: &str, args: &[String]) -> Self {
        let mut process = Command::new(PathBuf::from(binary))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = process.stdout.take().map(collect);
        let stderr = process.stderr.take().map(collect);
        Self { process, stdout, stderr }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) -> Finished {
        self.process.kill().unwrap();
        self.finish()
    }

    /// Asks it to end, as Ctrl-C or a service manager does.
    pub fn terminate(self) -> Finished {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.finish()
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
        let text = |side: Option<thread::JoinHandle<String>>| side.unwrap().join().unwrap();
        Finished { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn collect(mut side: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(side.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
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

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
