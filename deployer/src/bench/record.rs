//! What Nova's database says of a server. A look through nova-api takes 40 ms of a processor, for which the boot that is
//! measured would wait; a look at the row takes one.

use std::time::{Duration, Instant};

use sqlx::mysql::MySqlConnection;

use super::Error;
use crate::bootstrap::mysql::Server;

/// How often the row is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How often many rows are counted, which takes seconds to come out as wished.
const POLL_MANY: Duration = Duration::from_millis(50);

/// A connection to the databases of the cells.
pub(super) struct Record(MySqlConnection);

impl Record {
    /// Logs in as MariaDB's administrator.
    ///
    /// # Errors
    /// When it does not let us.
    pub(super) async fn open(server: &Server) -> Result<Self, Error> {
        Ok(Self(server.administrator().await?))
    }

    /// Waits until the server is ACTIVE or in ERROR. One that no host takes is in the database of cell0.
    ///
    /// # Errors
    /// [`Error::Unsettled`] when it is neither after `limit`.
    pub(super) async fn wait_settled(&mut self, id: &str, limit: Duration) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let row = sqlx::query_scalar(
                "SELECT vm_state FROM nova_cell1.instances WHERE uuid = ? \
                 UNION ALL SELECT vm_state FROM nova_cell0.instances WHERE uuid = ?",
            );
            let row = row.bind(id).bind(id).fetch_optional(&mut self.0);
            let state: Option<String> = row.await.map_err(Error::Record)?;
            if matches!(state.as_deref(), Some("active" | "error")) {
                return Ok(());
            }
            if start.elapsed() > limit {
                return Err(Error::Unsettled { id: id.to_owned(), seconds: limit.as_secs() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until so many servers have a name that begins with `prefix` and, where it is given, this `vm_state`.
    ///
    /// # Errors
    /// [`Error::Count`] when there are more or fewer after `limit`.
    pub(super) async fn wait_count(
        &mut self,
        prefix: &str,
        vm_state: Option<&str>,
        wanted: u32,
        limit: Duration,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let count = sqlx::query_scalar(
                "SELECT COUNT(*) FROM nova_cell1.instances WHERE deleted = 0 \
                 AND display_name LIKE CONCAT(?, '%') AND vm_state = COALESCE(?, vm_state)",
            );
            let count = count.bind(prefix).bind(vm_state).fetch_one(&mut self.0);
            let there: i64 = count.await.map_err(Error::Record)?;
            if there == i64::from(wanted) {
                return Ok(());
            }
            if start.elapsed() > limit {
                return Err(Error::Count { wanted, there, seconds: limit.as_secs() });
            }
            tokio::time::sleep(POLL_MANY).await;
        }
    }
}
