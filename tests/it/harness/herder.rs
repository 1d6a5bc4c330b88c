//! The `herder` program as a process.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;

use super::PATIENCE;

/// A running Herder, on ports of its own. It is killed when dropped.
pub(crate) struct Herder {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Herder {
    /// Starts a command (`run`, `demo`) and waits until it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(&mut Command::new(env!("CARGO_BIN_EXE_herder")), args)
    }

    /// The same with so many open files at most.
    pub(crate) fn start_with_files(files: usize, args: &[&str]) -> Self {
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        Self::spawn(shell.args(["-c", &script, env!("CARGO_BIN_EXE_herder")]), args)
    }

    /// The same with a variable of its environment.
    pub(crate) fn start_with(name: &str, value: impl AsRef<OsStr>, args: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_herder")).env(name, value), args)
    }

    /// The same; once it listens, the pipe of its log is full, and nobody empties it.
    pub(crate) fn start_with_stalled_log(args: &[&str]) -> Self {
        Self::spawn_and(&mut Command::new(env!("CARGO_BIN_EXE_herder")), args, Log::Stalls)
    }

    fn spawn(command: &mut Command, args: &[&str]) -> Self {
        Self::spawn_and(command, args, Log::IsRead)
    }

    fn spawn_and(command: &mut Command, args: &[&str], read: Log) -> Self {
        let mut child = command
            .args(args)
            .args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log.format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("herder starts");
        let stderr = child.stderr.take().expect("piped");
        let (found, listening) = std::sync::mpsc::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, pid) = (Arc::clone(&log), child.id());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if json["message"] == "listening" {
                    if read == Log::Stalls {
                        fill(pid);
                    }
                    let addr = |key: &str| json[key].as_str().and_then(|a| a.parse().ok());
                    let _ = found.send((addr("http"), addr("admin")));
                    if read == Log::Stalls {
                        loop {
                            std::thread::park();
                        }
                    }
                }
                let mut kept = kept.lock().expect("not poisoned");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let (http, admin) = listening.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("herder does not listen: {}", log.lock().expect("not poisoned"));
        });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let (http, admin) = (http.expect("an address"), admin.expect("an address"));
        Self { child, http, admin, log, client }
    }

    /// Asks the entry point for a host.
    pub(crate) fn get(
        &self,
        host: &str,
        path: &str,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let request = self.client.get(format!("http://{}{path}", self.http)).header("host", host);
        Answer::read(request)
    }

    /// Asks the admin side.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Answer::read(self.client.get(format!("http://{}{path}", self.admin))).await
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Sends a signal by name: `TERM`, `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends several, one right after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        let pid = self.child.id();
        let script: String = names.iter().map(|name| format!("kill -s {name} {pid}\n")).collect();
        // The shell's own `kill`: no process is started in between.
        let status = Command::new("sh").args(["-e", "-c", &script]).status().expect("a shell");
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }
}

/// What becomes of its log.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Log {
    IsRead,
    /// Until it listens only.
    Stalls,
}

/// Fills the pipe that is the standard error of a process.
fn fill(pid: u32) {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag");
    let mut open = OpenOptions::new();
    let pipe = open.write(true).custom_flags(nonblock).open(format!("/proc/{pid}/fd/2"));
    let mut pipe = pipe.expect("its standard error");
    while pipe.write_all(b"\n").is_ok() {}
}

impl Answer {
    async fn read(request: reqwest::RequestBuilder) -> Self {
        match request.send().await {
            Ok(response) => Self {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.text().await.unwrap_or_else(|error| format!("cut off: {error}")),
            },
            // 0 stands for no answer: a test says what it expects.
            Err(error) => {
                Self { status: 0, headers: Default::default(), body: format!("{error:?}") }
            }
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Drop for Herder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
