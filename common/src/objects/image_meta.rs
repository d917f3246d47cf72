//! `nova.objects.image_meta`: what Nova knows of a Glance image.

use serde_json::Value;

use super::Object;

object! {
    /// The image of an instance, inside a RequestSpec.
    ImageMeta = "ImageMeta" "1.8" {
        text id;
        text name;
        text status;
        text checksum;
        text container_format;
        text disk_format;
        int size;
        int min_ram;
        int min_disk;
        any properties;
    }
}

impl ImageMeta {
    /// The properties Nova has a field for, as text by name.
    pub fn known_properties(&self) -> Vec<(String, String)> {
        let data =
            self.properties().and_then(|props| props.get("nova_object.data")).and_then(Value::as_object);
        let entries = data.into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.clone(), Object::text_of(value)?))).collect()
    }
}
