//! Checks of `images:`.

use std::collections::BTreeMap;

use super::super::graph::cycle;
use super::super::releases::MARK;
use super::{Checker, is_name};

impl Checker<'_> {
    pub(super) fn images(&mut self) {
        let names: Vec<&str> = self.what.images.names().collect();
        for (name, image) in self.what.images.iter() {
            if !is_name(name) || name.as_str() == "debian" {
                let help = "lower-case letters, digits and dashes; `debian` is the root file system's own"
                    .to_owned();
                self.service_problem(
                    name.place,
                    format!("`{name}` cannot be the name of an image"),
                    Some(help),
                );
            }
            self.template(&image.dockerfile, &format!("image `{name}`"));
            // The mark is still there when the release is unknown, which is said once.
            for file in image.files.iter().filter(|file| !file.contains(MARK)) {
                self.template(file, &format!("image `{name}`"));
            }
            if let Some(from) = &image.from {
                self.known(from, names.clone(), |from| {
                    format!("image `{name}` sits on `{from}`, which is not defined")
                });
            }
        }
        self.image_cycle();
    }

    fn image_cycle(&mut self) {
        let edges: BTreeMap<&str, Vec<&str>> = self
            .what
            .images
            .iter()
            .map(|(name, image)| (name.as_str(), image.from.iter().map(|from| from.as_str()).collect()))
            .collect();
        if let Some(cycle) = cycle(&edges) {
            let place =
                self.what.images.get(cycle[0]).and_then(|image| image.from.as_ref()).map(|from| from.place);
            self.service_problem(
                place.unwrap_or_default(),
                format!("images sit on one another in a circle: {}", cycle.join(" -> ")),
                None,
            );
        }
    }
}
