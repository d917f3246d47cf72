//! What users see of the course of things: action events, faults; and the console tokens that end with an instance.

use std::time::Duration;

use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::{ConsoleAuthToken, InstanceFault, Versioned};
use serde_json::json;

use super::{Conductor, Error};

/// `InstanceFault.message` is a column of 255 characters.
const FAULT_LENGTH: usize = 255;

impl Conductor {
    /// Notes that `event` (`compute_<method>`) has begun (`openstack server event show`).
    ///
    /// # Errors
    /// [`Error`]; InstanceActionNotFound is no reason to give up the work (SEMANTICS §11).
    pub async fn event_start(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        event: &str,
    ) -> Result<(), Error> {
        let method = ("InstanceActionEvent", "event_start");
        let keywords = json!({"want_result": false, "host": self.host});
        self.class_method(context, method, json!([uuid, event]), keywords).await?;
        Ok(())
    }

    /// Notes that `event` has ended: well, or with this failure.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn event_finish(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        event: &str,
        failure: Option<&str>,
    ) -> Result<(), Error> {
        let method = ("InstanceActionEvent", "event_finish_with_failure");
        // Nova decides by the traceback whether the event is a Success or an Error.
        let traceback = failure.map(|text| format!("nova-docker-agent: {text}\n"));
        let keywords = json!({"exc_val": failure, "exc_tb": traceback, "want_result": false});
        self.class_method(context, method, json!([uuid, event]), keywords).await?;
        Ok(())
    }

    /// Records why the instance failed, for the user (`message`) and for admins (`details`).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_fault(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        (code, message, details): (u16, &str, &str),
    ) -> Result<(), Error> {
        let mut fault = InstanceFault::empty();
        fault.set_instance_uuid(uuid.to_string().as_str());
        fault.set_code(i64::from(code));
        fault.set_message(shortened(message));
        fault.set_details(details);
        fault.set_host(self.host.as_str());
        self.action(context, &mut fault, ("create", &[]), json!({})).await
    }

    /// Begins an action in the API's place, as power sync does before it stops an instance.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn action_start(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        action: &str,
    ) -> Result<(), Error> {
        let keywords = json!({"want_result": false});
        let method = ("InstanceAction", "action_start");
        self.class_method(context, method, json!([uuid, action]), keywords).await?;
        Ok(())
    }

    /// Makes `token` good for `patience`: it comes back with its secret.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn authorize_console(
        &self,
        context: &RequestContext,
        token: &mut ConsoleAuthToken,
        patience: Duration,
    ) -> Result<(), Error> {
        let keywords = json!({"ttl": patience.as_secs()});
        self.action(context, token, ("authorize", &[]), keywords).await
    }

    /// Ends all console sessions of an instance.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn clean_console_tokens(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
    ) -> Result<(), Error> {
        let method = ("ConsoleAuthToken", "clean_console_auths_for_instance");
        self.class_method(context, method, json!([uuid]), json!({})).await?;
        Ok(())
    }

    /// Removes the tokens of all console sessions that can be begun no more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn clean_expired_console_tokens(&self, context: &RequestContext) -> Result<(), Error> {
        let method = ("ConsoleAuthToken", "clean_expired_console_auths");
        self.class_method(context, method, json!([]), json!({})).await?;
        Ok(())
    }
}

/// Cuts a text so that it fits the column, at a character.
fn shortened(text: &str) -> &str {
    match text.char_indices().nth(FAULT_LENGTH) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_fits_its_column_in_any_script() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(300);
        assert_eq!(shortened(&long).chars().count(), 255);
    }
}
