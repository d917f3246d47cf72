//! Databases and their accounts: looked at, decided, made. A second look finds nothing to do.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use common::secret::Secret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// A login may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// MariaDB refused something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection as administrator.
    #[error("cannot log in to MariaDB at {address} as {user}")]
    Login { address: Ipv4Addr, user: String, source: sqlx::Error },
    /// A statement failed. The statement is not shown: it may hold a password.
    #[error("MariaDB refused to {doing}")]
    Statement { doing: String, source: sqlx::Error },
}

/// MariaDB as its administrator reaches it from the host.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: Ipv4Addr,
    /// Password of root.
    pub(crate) password: Secret,
}

impl Server {
    /// A session of root.
    ///
    /// # Errors
    /// [`Error::Login`]
    pub(crate) async fn administrator(&self) -> Result<MySqlConnection, Error> {
        connect(self.address, "root", &self.password).await
    }
}

/// What one service needs.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) databases: Vec<String>,
}

/// What is there already.
#[derive(Debug, Default)]
struct Present {
    databases: BTreeSet<String>,
    users: BTreeSet<String>,
    grants: BTreeSet<(String, String)>,
    /// The account exists and has the right password.
    login_works: bool,
}

/// One statement and what it does, for messages.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    doing: String,
    statement: String,
}

/// The administrator gets an answer.
pub(crate) async fn ping(server: &Server) -> Result<(), Error> {
    let mut connection = server.administrator().await?;
    connection.ping().await.map_err(|source| Error::Statement { doing: "answer a ping".into(), source })?;
    // The probe is answered; how the connection ends changes nothing.
    let _ = connection.close().await;
    Ok(())
}

/// Makes what is missing of `account`; returns what was done.
pub(crate) async fn ensure(server: &Server, account: &Account) -> Result<Vec<String>, Error> {
    let mut root = server.administrator().await?;
    let mut present = look(&mut root, account).await?;
    if present.users.contains(&account.user) {
        let login = connect(server.address, &account.user, &account.password).await;
        present.login_works = login.is_ok();
        if let Ok(connection) = login {
            let _ = connection.close().await;
        }
    }
    let mut done = Vec::new();
    for change in decide(account, &present) {
        let statement = sqlx::query(AssertSqlSafe(change.statement));
        statement
            .execute(&mut root)
            .await
            .map_err(|source| Error::Statement { doing: change.doing.clone(), source })?;
        done.push(change.doing);
    }
    let _ = root.close().await;
    Ok(done)
}

async fn connect(address: Ipv4Addr, user: &str, password: &Secret) -> Result<MySqlConnection, Error> {
    // The bridge of the host is the whole way there: no TLS. Statement logging would print passwords.
    let options = MySqlConnectOptions::new()
        .host(&address.to_string())
        .username(user)
        .password(password.reveal())
        .ssl_mode(MySqlSslMode::Disabled)
        .disable_statement_logging();
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    let connected = connected.unwrap_or_else(|late| Err(sqlx::Error::Io(std::io::Error::other(late))));
    connected.map_err(|source| Error::Login { address, user: user.to_owned(), source })
}

async fn look(root: &mut MySqlConnection, account: &Account) -> Result<Present, Error> {
    let failed = |source| Error::Statement { doing: "list databases and accounts".into(), source };
    let mut present = Present::default();
    for row in sqlx::query("SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata")
        .fetch_all(&mut *root)
        .await
        .map_err(failed)?
    {
        present.databases.insert(row.try_get(0).map_err(failed)?);
    }
    let users = sqlx::query("SELECT CAST(user AS CHAR) FROM mysql.user WHERE host = '%' AND user = ?")
        .bind(&account.user);
    for row in users.fetch_all(&mut *root).await.map_err(failed)? {
        present.users.insert(row.try_get(0).map_err(failed)?);
    }
    let grants = sqlx::query(
        "SELECT CAST(db AS CHAR), CAST(user AS CHAR) FROM mysql.db WHERE host = '%' AND user = ?",
    );
    for row in grants.bind(&account.user).fetch_all(&mut *root).await.map_err(failed)? {
        present.grants.insert((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?));
    }
    Ok(present)
}

/// Names were checked against `[a-z][a-z0-9_]*` when the configuration was read, and generated passwords are letters and
/// digits: DDL knows no parameters.
fn decide(account: &Account, present: &Present) -> Vec<Change> {
    let Account { user, password, databases } = account;
    let mut changes = Vec::new();
    let mut change = |doing: String, statement: String| changes.push(Change { doing, statement });
    for database in databases.iter().filter(|database| !present.databases.contains(*database)) {
        // Three bytes per character: OpenStack's indexes are too long for four.
        change(
            format!("create database {database}"),
            format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb3"),
        );
    }
    if !present.users.contains(user) {
        change(
            format!("create account {user}"),
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{}'", password.reveal()),
        );
    } else if !present.login_works {
        change(
            format!("set the password of account {user}"),
            format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{}'", password.reveal()),
        );
    }
    for database in
        databases.iter().filter(|database| !present.grants.contains(&((*database).clone(), user.clone())))
    {
        change(
            format!("grant {user} the database {database}"),
            format!("GRANT ALL PRIVILEGES ON `{database}`.* TO '{user}'@'%'"),
        );
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            user: "nova".into(),
            password: Secret::new("pw"),
            databases: vec!["nova_api".into(), "nova_cell0".into()],
        }
    }

    fn doings(present: &Present) -> Vec<String> {
        decide(&account(), present).into_iter().map(|change| change.doing).collect()
    }

    #[test]
    fn everything_is_made_on_an_empty_server() {
        let all = doings(&Present::default());
        assert_eq!(all.len(), 5, "{all:?}");
        assert_eq!(all[2], "create account nova");
    }

    #[test]
    fn nothing_is_done_when_all_is_there() {
        let databases = account().databases;
        let present = Present {
            grants: databases.iter().map(|database| (database.clone(), "nova".to_owned())).collect(),
            databases: databases.into_iter().collect(),
            users: ["nova".to_owned()].into(),
            login_works: true,
        };
        assert_eq!(doings(&present), Vec::<String>::new());
        assert_eq!(doings(&Present { login_works: false, ..present }), ["set the password of account nova"]);
    }
}
