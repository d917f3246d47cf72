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

/// Where Nova notes, in the image of a snapshot, what the instance was made from.
const BASE: &str = "base_image_ref";

/// Snapshots of instances made from snapshots, that are followed.
const MOST_BASES: usize = 16;

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
    let mut spec = spec.clone();
    let mut image = spec.image_id.clone();
    for name in cut {
        // Nova gives a snapshot what it has kept of its base: the cut text again.
        for _ in 0..MOST_BASES {
            let record = agent.glance.show(&image, behalf).await;
            let record =
                record.map_err(|error| unknown(&name, &format!("Glance does not tell it: {error}")))?;
            let now = record.property(&name).unwrap_or_default();
            let base = record.property(BASE).filter(|base| !base.is_empty() && *base != image);
            match (spec.image_properties.get_mut(&name), base) {
                (Some(kept), Some(base)) if now == kept => base.clone_into(&mut image),
                (Some(kept), _) if now.starts_with(kept.as_str()) => {
                    now.clone_into(kept);
                    break;
                }
                _ => return Err(unknown(&name, "it was changed in Glance since")),
            }
        }
        image.clone_from(&spec.image_id);
    }
    Ok(Cow::Owned(spec))
}
