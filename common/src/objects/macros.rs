//! The `object!` macro: a class of Nova becomes a struct with getters, and setters for the fields the agent writes.

/// Declares a class: `kind field;` for a field that is read, `kind field, set_field;` for one that is written, too.
///
/// Kinds: `text`, `int`, `float`, `flag`, `dict` (text by text), `any` (a JSON value), `object(Class)`.
/// Getters give None for a field that is unset or null.
macro_rules! object {
    ($(#[$meta:meta])* $class:ident = $name:literal $version:literal { $($kind:ident $(($inner:ident))? $field:ident $(, $set:ident)?;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $class($crate::objects::Object);

        impl $crate::objects::Versioned for $class {
            const NAME: &'static str = $name;
            const VERSION: &'static str = $version;

            fn wrap(object: $crate::objects::Object) -> Self {
                Self(object)
            }

            fn object(&self) -> &$crate::objects::Object {
                &self.0
            }

            fn object_mut(&mut self) -> &mut $crate::objects::Object {
                &mut self.0
            }

            fn check(object: &$crate::objects::Object) -> Result<(), $crate::objects::Error> {
                $(
                    if let Some(value) = object.get(stringify!($field)) {
                        object!(@check $kind $(($inner))? value).map_err(|expected| $crate::objects::Error::Field {
                            class: $name, field: stringify!($field), expected,
                        })?;
                    }
                )*
                let _ = object;
                Ok(())
            }
        }

        impl serde::Serialize for $class {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.primitive().serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $class {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let primitive = serde_json::Value::deserialize(deserializer)?;
                <Self as $crate::objects::Versioned>::parse(primitive).map_err(serde::de::Error::custom)
            }
        }

        impl $class {
            $(
                object!(@get $kind $(($inner))? $field);
                $(object!(@set $kind $field $set);)?
            )*
        }
    };

    (@check text $value:ident) => { $value.as_str().map(drop).ok_or("text") };
    (@check int $value:ident) => { $value.as_i64().map(drop).ok_or("whole number") };
    (@check float $value:ident) => { $value.as_f64().map(drop).ok_or("number") };
    (@check flag $value:ident) => { $value.as_bool().map(drop).ok_or("truth value") };
    (@check any $value:ident) => { { let _ = $value; Ok::<(), &'static str>(()) } };
    (@check dict $value:ident) => {
        $value
            .as_object()
            .filter(|map| map.values().all(|value| value.is_string() || value.is_null()))
            .map(drop)
            .ok_or("map of text")
    };
    (@check object($inner:ident) $value:ident) => {
        <$inner as $crate::objects::Versioned>::parse($value.clone()).map(drop).map_err(|_| concat!("valid ", stringify!($inner)))
    };

    (@get text $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`.")]
        pub fn $field(&self) -> Option<&str> {
            self.0.get(stringify!($field)).and_then(serde_json::Value::as_str)
        }
    };
    (@get int $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`.")]
        pub fn $field(&self) -> Option<i64> {
            self.0.get(stringify!($field)).and_then(serde_json::Value::as_i64)
        }
    };
    (@get float $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`.")]
        pub fn $field(&self) -> Option<f64> {
            self.0.get(stringify!($field)).and_then(serde_json::Value::as_f64)
        }
    };
    (@get flag $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`; false when unset.")]
        pub fn $field(&self) -> bool {
            self.0.get(stringify!($field)).and_then(serde_json::Value::as_bool).unwrap_or(false)
        }
    };
    (@get any $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`.")]
        pub fn $field(&self) -> Option<&serde_json::Value> {
            self.0.get(stringify!($field))
        }
    };
    (@get dict $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`; empty when unset.")]
        pub fn $field(&self) -> std::collections::BTreeMap<String, String> {
            let map = self.0.get(stringify!($field)).and_then(serde_json::Value::as_object);
            map.into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        }
    };
    (@get object($inner:ident) $field:ident) => {
        #[doc = concat!("Nova's field `", stringify!($field), "`.")]
        pub fn $field(&self) -> Option<$inner> {
            self.0.get(stringify!($field)).and_then(|value| <$inner as $crate::objects::Versioned>::parse(value.clone()).ok())
        }
    };

    (@set text $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set<'a>(&mut self, value: impl Into<Option<&'a str>>) {
            self.0.set(stringify!($field), value.into().map_or(serde_json::Value::Null, serde_json::Value::from));
        }
    };
    (@set int $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set(&mut self, value: impl Into<Option<i64>>) {
            self.0.set(stringify!($field), value.into().map_or(serde_json::Value::Null, serde_json::Value::from));
        }
    };
    (@set float $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set(&mut self, value: f64) {
            self.0.set(stringify!($field), value.into());
        }
    };
    (@set flag $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set(&mut self, value: bool) {
            self.0.set(stringify!($field), value.into());
        }
    };
    (@set any $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set(&mut self, value: serde_json::Value) {
            self.0.set(stringify!($field), value);
        }
    };
    (@set dict $field:ident $set:ident) => {
        #[doc = concat!("Sets Nova's field `", stringify!($field), "`.")]
        pub fn $set(&mut self, value: std::collections::BTreeMap<String, String>) {
            self.0.set(stringify!($field), value.into_iter().map(|(key, text)| (key, serde_json::Value::String(text))).collect());
        }
    };
}
