//! A small configuration in a folder of its own, and the binary run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const SERVICES: &str = r#"images:
  base: { dockerfile: base/Dockerfile.tera }
services:
  db:
    image: base
    user: 1000
    command: [db, --port, "3306"]
    address: 11
    ready: { mysql: {} }
    needs: { secrets: { mariadb_root_password: password } }
  identity:
    image: base
    user: 1001
    command: [identity]
    config: { /etc/identity.conf: identity/identity.conf.tera }
    depends_on: [db]
    needs: { databases: [identity], secrets: { admin_password: password } }
    init: [{ name: bootstrap, command: [bootstrap, "{{ admin.user }}"] }]
    ready: { http: { port: 5000, path: /v3 } }
    api: { port: 5000, check: /healthcheck, catalogue: { type: identity, name: identity, path: /v3 } }
  front:
    image: base
    user: 1002
    command: [front]
    address: 10
    publish: api
    config: { /etc/front.cfg: front/front.cfg.tera }
  agent:
    image: base
    user: 0
    command: [agent]
    network: host
    config: { /etc/agent.conf: identity/identity.conf.tera }
    depends_on: [identity]
    environment: { WORKERS: "{{ workers }}" }
"#;

const IDENTITY: &str = "[DEFAULT]
workers = {{ workers }}
region = {{ config.region }}
[database]
connection = {{ db.identity }}
[admin]
password = {{ secrets.admin_password }}
[urls]
internal = {{ endpoints.identity.internal }}
public = {{ endpoints.identity.public }}
database_host = {{ addresses.db }}
";

const FRONT: &str = "{% for api in apis %}
listen {{ api.name }}
    bind *:{{ api.port }}
    http-check send meth GET uri {{ api.check }}
    server {{ api.name }} {{ addresses[api.name] }}:{{ api.port }}
{% endfor %}";

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Project {
    pub(crate) dir: PathBuf,
}

impl Project {
    /// A configuration without mistakes.
    pub(crate) fn good() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("octo-cli-{}-{number}", std::process::id()));
        let project = Project { dir };
        project.write("services.yaml", SERVICES);
        project.write("configuration.yaml", "project: clitest\nsize: medium\n");
        project.write("dockerfiles/base/Dockerfile.tera", "FROM {{ from }}\n# release {{ release }}\n");
        project.write("dockerfiles/identity/identity.conf.tera", IDENTITY);
        project.write("dockerfiles/front/front.cfg.tera", FRONT);
        project
    }

    /// The same with one change in `services.yaml`.
    pub(crate) fn with(from: &str, to: &str) -> Self {
        assert!(SERVICES.contains(from), "{from}");
        let project = Self::good();
        project.write("services.yaml", &SERVICES.replacen(from, to, 1));
        project
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octopenstack"));
        command
            .env_remove("OCTOPENSTACK_ROOT")
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .stdin(Stdio::null())
            .arg("--config")
            .arg(&self.dir)
            .args(["--state-dir"])
            .arg(self.dir.join("state"))
            .args(["--log-dir"])
            .arg(self.dir.join("logs"))
            .args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Everything that was said, with the folder's name taken out, and the exit code.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let text = text.replace(&self.dir.display().to_string(), "[DIR]");
        format!("{text}exit code {}", output.status.code().unwrap_or(-1))
    }

    pub(crate) fn is_untouched(&self) -> bool {
        !self.dir.join("state").exists() && !self.dir.join("logs").exists()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// All files below `dir` with their contents, in order.
pub(crate) fn contents(dir: &Path) -> String {
    let mut paths = Vec::new();
    collect(dir, &mut paths);
    paths.sort();
    let shown = |path: &PathBuf| {
        let name = path.strip_prefix(dir).unwrap().display();
        format!("=== {name}\n{}", std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(shown).collect()
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, paths) } else { paths.push(path) }
    }
}
