//! The image by the script that users have, and the quickstart's compose project.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An image of the binary under test, removed at the end.
pub(crate) struct Image(pub(crate) String);

impl Image {
    /// Built by the script that users have. The name is this process's own: tests run side by side.
    #[track_caller]
    pub(crate) fn build(purpose: &str) -> Self {
        let image = Self(format!("herder-catalog-{purpose}-{}", std::process::id()));
        run(&mut script(&image.0, Path::new(env!("CARGO_BIN_EXE_herder"))));
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["image", "rm", "--force", &self.0]).output();
    }
}

/// `scripts/image` with this binary.
pub(crate) fn script(image: &str, binary: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg(root().join("scripts/image")).arg(binary).env("IMAGE", image);
    command
}

/// A compose project, taken down at the end.
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) image: String,
    /// Where requests come in, and where the page is.
    pub(crate) http: u16,
    pub(crate) admin: u16,
}

impl Project {
    /// The quickstart under a name and on ports of its own.
    pub(crate) fn new(image: &Image) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr());
        let [http, admin] = [free(), free()].map(|addr| addr.expect("a free port").port());
        Self { name: image.0.clone(), image: image.0.clone(), http, admin }
    }

    /// `docker-compose ARGUMENTS` for it.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Command {
        let file = root().join("compose/docker/docker-compose.yml");
        let mut command = Command::new("docker-compose");
        command.env("HERDER_IMAGE", &self.image);
        command.env("HTTP_PORT", self.http.to_string()).env("ADMIN_PORT", self.admin.to_string());
        command.arg("-p").arg(&self.name).arg("-f").arg(file);
        command.args(arguments);
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--volumes", "--timeout", "1"]).output();
    }
}

/// Runs to a good end and gives what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs, and gives what came of it.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|e| panic!("{command:?} does not start ({e}); see scripts/test"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
