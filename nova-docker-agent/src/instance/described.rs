//! The description of a container in full. Nova keeps an image's properties with the instance, but cuts each to 255
//! characters (`nova.utils.get_system_metadata_from_image`); what a container is made of again must be whole.

use std::borrow::Cow;

use common::messaging::RequestContext;
use common::openstack::glance::OnBehalf;

use crate::agent::Agent;
use crate::error::Error;
use crate::virt::{self, InstanceSpec, wishes};

/// Nova's limit, in bytes of UTF-8; a character that does not fit whole is left out.
const LONGEST: usize = 255;

/// `spec` with the properties that Nova may have cut as Glance has them. Asks Glance only if there are any.
///
/// # Errors
/// When Glance does not tell them, or something else than what Nova has kept the beginning of.
pub async fn whole<'a>(
    agent: &Agent,
    context: &RequestContext,
    spec: &'a InstanceSpec,
) -> Result<Cow<'a, InstanceSpec>, Error> {
    let cut = |(name, value): (&String, &String)| {
        let concerns_us = name.starts_with(wishes::PREFIX) || name == wishes::COMMAND_LINE;
        (concerns_us && value.len() + 3 >= LONGEST && value.len() <= LONGEST).then(|| name.clone())
    };
    let cut: Vec<String> = spec.image_properties.iter().filter_map(cut).collect();
    if cut.is_empty() {
        return Ok(Cow::Borrowed(spec));
    }
    let behalf = OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) };
    let unknown = |name: &str, why: &str| {
        Error::Virt(virt::Error::InvalidSpec(format!(
            "the image property {name} is longer than Nova keeps it with the instance, and {why}"
        )))
    };
    let record = agent
        .glance
        .show(&spec.image_id, behalf)
        .await
        .map_err(|error| unknown(&cut[0], &format!("Glance does not tell it: {error}")))?;
    let mut spec = spec.clone();
    for name in cut {
        let now = record.property(&name).unwrap_or_default();
        match spec.image_properties.get_mut(&name) {
            Some(kept) if now.starts_with(kept.as_str()) => now.clone_into(kept),
            _ => return Err(unknown(&name, "it was changed in Glance since")),
        }
    }
    Ok(Cow::Owned(spec))
}
