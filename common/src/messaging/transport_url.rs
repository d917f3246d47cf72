//! `transport_url`: `rabbit://user:password@host:port,user:password@host2:port/vhost`.

use std::fmt;

use super::Error;

/// One broker of the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerHost {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login.
    pub username: String,
    /// Password; never shown.
    pub password: String,
}

impl fmt::Debug for BrokerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.username, self.host, self.port)
    }
}

/// Where the brokers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportUrl {
    /// Tried in turn.
    pub hosts: Vec<BrokerHost>,
    /// Virtual host.
    pub vhost: String,
}

impl TransportUrl {
    /// Reads oslo.messaging's notation.
    ///
    /// # Errors
    /// [`Error::Url`] saying what is wrong, without the password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let rest = ["rabbit://", "kombu://", "amqp://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| Error::Url("it must begin with rabbit://".into()))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if query.split('&').any(|pair| pair == "ssl=1" || pair == "ssl=true") {
            return Err(Error::Url("TLS to the broker (ssl=1) is not supported".into()));
        }
        let hosts = authority.split(',').map(parse_host).collect::<Result<Vec<_>, _>>()?;
        let vhost = decode(path)?;
        Ok(Self { hosts, vhost: if vhost.is_empty() { "/".into() } else { vhost } })
    }
}

fn parse_host(text: &str) -> Result<BrokerHost, Error> {
    let (credentials, address) = text.rsplit_once('@').unwrap_or(("", text));
    let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (host, port) = match address.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (address, "5672"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(Error::Url("a host name is missing".into()));
    }
    Ok(BrokerHost {
        host: host.to_owned(),
        port: port.parse().map_err(|_| Error::Url(format!("{port} is no port number")))?,
        username: if username.is_empty() { "guest".into() } else { decode(username)? },
        password: if username.is_empty() { "guest".into() } else { decode(password)? },
    })
}

/// Undoes percent encoding.
fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(Error::Url("a % is not followed by two hexadecimal digits".into()));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
    }
    String::from_utf8(bytes).map_err(|_| Error::Url("it is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_read_in_order() {
        let url = TransportUrl::parse("rabbit://nova:p%40ss@a:5673,nova:p@[::1]/nova%2Fcell").unwrap();
        assert_eq!(url.vhost, "nova/cell");
        assert_eq!(url.hosts[0].password, "p@ss");
        assert_eq!((url.hosts[0].host.as_str(), url.hosts[0].port), ("a", 5673));
        assert_eq!((url.hosts[1].host.as_str(), url.hosts[1].port), ("::1", 5672));
    }

    #[test]
    fn an_empty_path_is_the_root_vhost() {
        for url in [
            "rabbit://guest:guest@127.0.0.1:5672/",
            "rabbit://guest:guest@127.0.0.1:5672",
            "amqp://127.0.0.1//",
        ] {
            assert_eq!(TransportUrl::parse(url).unwrap().vhost, "/", "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_without_the_password() {
        for (url, wrong) in [
            ("http://u:geheim@h/", "rabbit://"),
            ("rabbit://u:geheim@h:port/", "port number"),
            ("rabbit://u:geheim@/", "host name"),
            ("rabbit://u:geheim%2@h/", "hexadecimal"),
            ("rabbit://u:geheim@h/?ssl=1", "TLS"),
        ] {
            let error = TransportUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(wrong) && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let url = TransportUrl::parse("rabbit://nova:geheim@h/").unwrap();
        assert!(!format!("{url:?}").contains("geheim"));
    }
}
