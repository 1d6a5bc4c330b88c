//! Images, containers and networks on the real engine, removed when a test ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Where the engine listens.
pub(crate) const SOCKET: &str = "/var/run/docker.sock";

/// Runs the Docker command line.
///
/// # Panics
/// When it fails, with what it said.
#[track_caller]
pub(crate) fn docker<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let mut command = Command::new("docker");
    command.args(args);
    let output = command.output().expect("these tests need the docker command and its daemon");
    text_of(&command, &output)
}

#[track_caller]
fn text_of(command: &Command, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A name no other test, and no other run, uses: `herder-test-web-1a2b-0`.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "herder-test-{name}-{:x}-{:x}-{count}",
        std::process::id(),
        since.as_micros() & 0xff_ffff
    )
}

/// An image with nothing but our own program, which has to be static for that. Built once for each binary.
pub(crate) fn herder_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let binary = Path::new(env!("CARGO_BIN_EXE_herder"));
        assert!(
            is_static(binary),
            "{} needs the system's libraries and cannot run in an empty image; scripts/test builds one that can: \
             RUSTFLAGS=\"$(scripts/build --flags)\" and --target",
            binary.display()
        );
        let lines = "FROM scratch\nCOPY herder /herder\nENTRYPOINT [\"/herder\"]\n";
        image("herder", lines, &[(binary, "herder")])
    })
}

/// The same with a health check on `/health`; three seconds pass before the first one.
pub(crate) fn checked_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let lines = "FROM scratch\nCOPY herder /herder\nENTRYPOINT [\"/herder\"]\n\
                     HEALTHCHECK --interval=3s --timeout=2s --retries=1 CMD [\"/herder\", \
                     \"healthcheck\", \"--url\", \"http://127.0.0.1:8080/health\"]\n";
        image("checked", lines, &[(Path::new(env!("CARGO_BIN_EXE_herder")), "herder")])
    })
}

/// An image with a shell, for containers that must not end, or fail their check, when told.
pub(crate) fn shell_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let binary = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let binary = binary.into_iter().find(|path| is_static(path));
        let binary = binary.expect("these tests need busybox (apt-get install busybox-static)");
        let lines = "FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\n\
                     RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        image("shell", lines, &[(binary, "busybox")])
    })
}

/// Builds an image unless this very one is there. The tag tells its contents, so an old one is never taken for
/// it; the lock keeps the processes of one run from building it twice.
fn image(name: &str, dockerfile: &str, files: &[(&Path, &str)]) -> String {
    let mut digest = Sha256::new_with_prefix(dockerfile);
    for (path, _) in files {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("a file to put in");
        digest.update(&bytes);
    }
    let digest: String = digest.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
    let tag = format!("herder-test-{name}:{digest}");
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(scratch.join(format!("image-{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock");
    if docker(["images", "--quiet", &tag]).is_empty() {
        let folder = scratch.join(format!("image-{name}"));
        fs::create_dir_all(&folder).expect("a folder to build in");
        for (path, target) in files {
            fs::copy(path, folder.join(target)).expect("a copy");
        }
        fs::write(folder.join("Dockerfile"), dockerfile).expect("a Dockerfile");
        let mut build = Command::new("docker");
        build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", &tag]).arg(&folder);
        let output = build.output().expect("docker build");
        text_of(&build, &output);
    }
    tag
}

/// A program that names no interpreter (ELF program header `PT_INTERP`) needs nothing beside itself.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let half = |at: usize| {
        bytes.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])))
    };
    let Some(start) = bytes.get(32..40).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
    else {
        return false;
    };
    let start = usize::try_from(start).expect("a program fits into memory");
    let (size, count) = (half(54), half(56));
    let is_interpreter =
        |n: usize| bytes.get(start + n * size..).is_some_and(|h| h.starts_with(&[3, 0, 0, 0]));
    bytes.starts_with(b"\x7fELF") && !(0..count).any(is_interpreter)
}

/// A container; removed by force when this is dropped.
pub(crate) struct Container {
    /// The whole id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
}

impl Container {
    /// `docker run --detach`, with these options before and this command after the image.
    #[track_caller]
    pub(crate) fn run(name: &str, image: &str, options: &[&str], command: &[&str]) -> Self {
        let name = unique(name);
        let start = ["run", "--detach", "--name", &name];
        let args = start.into_iter().chain(options.iter().copied()).chain([image]);
        let id = docker(args.chain(command.iter().copied()));
        Self { id, name }
    }

    /// One that stays up, and does not end at SIGTERM: process 1 has no default handler.
    #[track_caller]
    pub(crate) fn stubborn(name: &str, options: &[&str]) -> Self {
        Self::run(name, shell_image(), options, &["sleep", "1000"])
    }

    /// `docker VERB [OPTIONS] CONTAINER`: stop, kill, pause, restart …
    #[track_caller]
    pub(crate) fn tell(&self, verb: &str, options: &[&str]) {
        docker([verb].into_iter().chain(options.iter().copied()).chain([self.id.as_str()]));
    }

    /// The same without waiting for it to be done.
    pub(crate) fn tell_later(&self, verb: &str, options: &[&str]) -> std::process::Child {
        let mut command = Command::new("docker");
        command.arg(verb).args(options).arg(&self.id);
        command.stdout(std::process::Stdio::null()).spawn().expect("docker")
    }

    /// Runs a command in it.
    #[track_caller]
    pub(crate) fn exec(&self, command: &[&str]) -> String {
        docker(["exec", &self.id].into_iter().chain(command.iter().copied()))
    }

    /// What `docker inspect --format` says.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        docker(["inspect", "--format", format, &self.id])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.id]).output();
    }
}

/// A network; removed when this is dropped, which has to be after its containers.
pub(crate) struct Network {
    /// Its name.
    pub(crate) name: String,
}

impl Network {
    /// A bridge.
    #[track_caller]
    pub(crate) fn create(name: &str) -> Self {
        let name = unique(name);
        docker(["network", "create", &name]);
        Self { name }
    }

    /// Puts a container into it.
    #[track_caller]
    pub(crate) fn connect(&self, container: &Container) {
        docker(["network", "connect", &self.name, &container.id]);
    }

    /// Takes a container out of it.
    #[track_caller]
    pub(crate) fn disconnect(&self, container: &Container) {
        docker(["network", "disconnect", &self.name, &container.id]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.name]).output();
    }
}

/// A file system of the engine's in memory, for several containers; removed when this is dropped, which has to be after them.
pub(crate) struct Volume {
    /// Its name.
    pub(crate) name: String,
}

impl Volume {
    /// One that takes so much: `64k`.
    #[track_caller]
    pub(crate) fn in_memory(name: &str, size: &str) -> Self {
        let (name, size) = (unique(name), format!("o=size={size}"));
        let tmpfs = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", &size, &name];
        docker(["volume", "create", "--driver", "local"].into_iter().chain(tmpfs));
        Self { name }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["volume", "rm", "--force", &self.name]).output();
    }
}

/// The engine's socket under a path of our own, which can be taken away and given back.
pub(crate) struct Socket {
    folder: tempfile::TempDir,
    open: Option<JoinSet<()>>,
}

impl Socket {
    /// A path that leads to the engine.
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut socket = Self { folder, open: None };
        socket.give_back();
        socket
    }

    /// `unix:///…`
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        let all = fs::read_to_string("/proc/net/unix").expect("the kernel's list of sockets");
        let path = self.path();
        let ours = all.lines().filter(|line| line.ends_with(path.to_str().expect("plain text")));
        // The one that listens is in the list too.
        ours.count().saturating_sub(1)
    }

    /// Ends every connection and removes the socket, as a daemon that stops does.
    pub(crate) async fn take_away(&mut self) {
        if let Some(mut tasks) = self.open.take() {
            tasks.shutdown().await;
        }
        fs::remove_file(self.path()).expect("the socket was there");
    }

    /// Puts the socket back.
    pub(crate) fn give_back(&mut self) {
        let listener = UnixListener::bind(self.path()).expect("a socket");
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(listener));
        self.open = Some(tasks);
    }
}

/// The engine on a TCP port of this host, in clear or behind TLS that wants the client's certificate.
pub(crate) struct Port {
    /// The port.
    pub(crate) number: u16,
    _tasks: JoinSet<()>,
}

impl Port {
    /// A port that leads to the engine.
    pub(crate) async fn open(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let number = listener.local_addr().expect("an address").port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve(near, tls.clone()));
            }
        });
        Self { number, _tasks: tasks }
    }
}

/// The engine on a TCP port of this host, as a proxy before the socket leaves it that lets nobody hear events.
pub(crate) struct DeafPort {
    /// The port.
    pub(crate) number: u16,
    /// How often all containers were asked for.
    pub(crate) lists: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl DeafPort {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let number = listener.local_addr().expect("an address").port();
        let lists = Arc::<AtomicUsize>::default();
        let (mut tasks, count) = (JoinSet::new(), Arc::clone(&lists));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve_but_events(near, Arc::clone(&count)));
            }
        });
        Self { number, lists, _tasks: tasks }
    }
}

/// One request: the engine answers it, unless it asks for events.
async fn serve_but_events(mut near: TcpStream, lists: Arc<AtomicUsize>) {
    let head = super::raw::head(&mut near).await;
    if head.contains("/events") {
        let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = near.write_all(refused).await;
        return;
    }
    lists.fetch_add(usize::from(head.contains("/containers/json")), Ordering::Relaxed);
    let mut far = UnixStream::connect(SOCKET).await.expect("the engine's socket");
    let last = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    far.write_all(last.as_bytes()).await.expect("asked");
    let _ = copy(&mut far, &mut near).await;
}

async fn serve(mut near: TcpStream, tls: Option<TlsAcceptor>) {
    let mut far = UnixStream::connect(SOCKET).await.expect("the engine's socket");
    match tls {
        None => drop(copy_bidirectional(&mut near, &mut far).await),
        Some(tls) => {
            // A client without the right certificate is turned away here.
            let Ok(mut near) = tls.accept(near).await else { return };
            drop(copy_bidirectional(&mut near, &mut far).await);
        }
    }
}

/// The engine's socket, as an engine has it that is stuck over some of its containers: it says nothing about them.
pub(crate) struct StuckSocket {
    folder: tempfile::TempDir,
    stuck: watch::Sender<Vec<String>>,
    /// How often it was asked for one of them.
    asked: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl StuckSocket {
    /// A path that leads to the engine.
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let (stuck, ids) = watch::channel(Vec::new());
        let (count, asked) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve_but_stuck(near, ids.clone(), count.clone()));
            }
        });
        Self { folder, stuck, asked, _tasks: tasks }
    }

    /// `unix:///…`
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Says nothing about these any more; about all others it answers.
    pub(crate) fn stick(&self, containers: &[&Container]) {
        self.stuck.send_replace(containers.iter().map(|c| c.id.clone()).collect());
    }

    /// Waits until it is asked for one that it says nothing about.
    pub(crate) async fn until_asked(&self) {
        let mut asked = self.asked.clone();
        asked.wait_for(|&count| count > 0).await.expect("it counts");
    }
}

/// One request: the engine answers it, unless it is for one of these.
async fn serve_but_stuck(
    mut near: UnixStream,
    stuck: watch::Receiver<Vec<String>>,
    count: watch::Sender<usize>,
) {
    let head = super::raw::head(&mut near).await;
    let is_for = |id: &String| head.contains(&format!("/containers/{id}/json"));
    if stuck.borrow().iter().any(is_for) {
        count.send_modify(|count| *count += 1);
        return std::future::pending().await;
    }
    let mut far = UnixStream::connect(SOCKET).await.expect("the engine's socket");
    let last = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    far.write_all(last.as_bytes()).await.expect("asked");
    let _ = copy(&mut far, &mut near).await;
}

/// An authority, and certificates it signed: what `docker --tlsverify` wants on both sides.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Made by the `openssl` command, for 127.0.0.1.
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "set -e; q='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
            openssl req -x509 $q -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            for who in server client; do
                openssl req $q -subj /CN=$who -keyout $who.key -out $who.csr
                echo subjectAltName=IP:127.0.0.1 > ext
                openssl x509 -req -in $who.csr -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial \
                    -extfile ext -out $who.pem
            done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path());
        let output = command.output().expect("a shell with the openssl command");
        text_of(&command, &output);
        Self { folder }
    }

    /// One of `ca.pem`, `client.pem`, `client.key`, `server.pem`, `server.key`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's side, which wants the client's certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        self.server_with(verifier.build().expect("a verifier"))
    }

    /// The server's side, for any client.
    pub(crate) fn server(&self) -> TlsAcceptor {
        self.server_with(WebPkiClientVerifier::no_client_auth())
    }

    fn server_with(&self, verifier: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions of the provider")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate("server.pem")], key)
            .expect("a certificate and its key");
        TlsAcceptor::from(Arc::new(config))
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(name)).expect("a certificate")
    }
}

/// The connections live in this future: dropping it ends them all.
async fn forward(listener: UnixListener) {
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.expect("a connection");
        connections.spawn(async move {
            let mut far = UnixStream::connect(SOCKET).await.expect("the engine's socket");
            // Either side may leave in the middle: that is what this is for.
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
