//! Where a repository is: which addresses are taken, and how git is told of them.

use std::fmt;

use deploymind_shared::error::{Code, Error};
use url::{Host, Url};

const LONGEST: usize = 2_048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
    Ssh,
    /// `file://` or a path. Only where the request allows it.
    Local,
}

/// An address without a credential in it: safe to show, and as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub scheme: Scheme,
    /// For SSH only.
    user: Option<String>,
    /// Lower case; an IPv6 address in brackets. Empty for a local one.
    pub host: String,
    /// Only when it is not the scheme's own.
    pub port: Option<u16>,
    /// Begins with `/`, except for `user@host:path`.
    path: String,
}

fn refused(why: &str) -> Error {
    Error::new(
        Code::RepositoryAddress,
        format!(
            "the repository's address {why}; give it as https://host/path.git, ssh://git@host/path.git or git@host:path.git"
        ),
    )
}

impl Address {
    pub fn parse(text: &str, allow_local: bool) -> Result<Self, Error> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(refused(&format!("is empty or longer than {LONGEST} characters")));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(refused("has blanks, backslashes or control characters"));
        }
        if text.starts_with('-') {
            return Err(refused("begins with a dash"));
        }
        if text.contains("::") && !text.contains("://") {
            return Err(refused("asks for a remote helper, which is never run"));
        }
        let address = match text.split_once("://") {
            Some(_) => Self::from_url(text)?,
            None if text.starts_with(['/', '.']) => Self::local(text),
            None => Self::from_scp(text)?,
        };
        if address.scheme == Scheme::Local && !allow_local {
            return Err(refused("is a path on the worker"));
        }
        Ok(address)
    }

    fn local(path: &str) -> Self {
        Self { scheme: Scheme::Local, user: None, host: String::new(), port: None, path: path.to_owned() }
    }

    fn from_url(text: &str) -> Result<Self, Error> {
        let url = Url::parse(text).map_err(|_| refused("is not a URL"))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "ssh" => Scheme::Ssh,
            "file" if url.host().is_none() => return Ok(Self::local(url.path())),
            _ => return Err(refused("has a scheme other than https, http or ssh")),
        };
        if url.password().is_some() || (scheme != Scheme::Ssh && !url.username().is_empty()) {
            return Err(refused(
                "has a user name or password in it; store it as the app's repository credential, which is kept encrypted, and leave it out",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("has a `?` or `#`"));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            Some(host) => host.to_string().to_ascii_lowercase(),
            None => return Err(refused("names no host")),
        };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned);
        let port = url.port().filter(|port| scheme != Scheme::Ssh || *port != 22);
        Self::checked(Self { scheme, user, host, port, path: url.path().to_owned() })
    }

    fn from_scp(text: &str) -> Result<Self, Error> {
        let (place, path) = text.split_once(':').ok_or_else(|| refused("has no scheme and no host"))?;
        let (user, host) = match place.split_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, place),
        };
        let host = host.to_ascii_lowercase();
        Self::checked(Self { scheme: Scheme::Ssh, user, host, port: None, path: path.to_owned() })
    }

    fn checked(self) -> Result<Self, Error> {
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let host_is_plain = match self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => plain(inner, ":"),
            None => plain(&self.host, ".-_"),
        };
        if !host_is_plain {
            return Err(refused("names a host that cannot be"));
        }
        if self.user.as_deref().is_some_and(|user| !plain(user, "._-")) {
            return Err(refused("names a user that cannot be"));
        }
        if self.path.trim_matches('/').is_empty() || self.path.trim_start_matches('/').starts_with('-') {
            return Err(refused("names no repository"));
        }
        Ok(self)
    }

    /// Loopback never leaves the machine, so nobody can listen on the way.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `scheme://host[:port]`: what a token is bound to.
    pub fn origin(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Ssh => "ssh",
            Scheme::Local => "file",
        };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }

    /// The address of a submodule as `.gitmodules` gives it, which may be relative to this one.
    pub fn relative(&self, text: &str) -> Result<Self, Error> {
        if !(text.starts_with("./") || text.starts_with("../")) {
            return Self::parse(text, self.scheme == Scheme::Local);
        }
        let mut parts: Vec<&str> = self.path.trim_end_matches('/').split('/').collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.iter().any(|part| !part.is_empty()) => {
                    parts.pop();
                }
                ".." => return Err(refused("leads above its host")),
                part => parts.push(part),
            }
        }
        let address = Self { path: parts.join("/"), ..self.clone() };
        // Once more through the front door: what was joined is not trusted either.
        Self::parse(&address.to_string(), self.scheme == Scheme::Local)
    }

    /// The same repository by this address's way in, if it is the same host: a project that is cloned over HTTPS often
    /// names its submodules by SSH, and the reverse. `None` when it is another origin.
    pub fn reached_like(&self, submodule: &Self) -> Option<Self> {
        if self.origin() == submodule.origin() {
            return Some(Self { user: self.user.clone().or(submodule.user.clone()), ..submodule.clone() });
        }
        let usual =
            |address: &Self| address.port.is_none() && matches!(address.scheme, Scheme::Https | Scheme::Ssh);
        if self.host != submodule.host || !usual(self) || !usual(submodule) {
            return None;
        }
        let path = format!("/{}", submodule.path.trim_start_matches('/'));
        Some(Self { path, ..self.clone() })
    }
}

/// As git takes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        match self.scheme {
            Scheme::Local => f.write_str(&self.path),
            Scheme::Ssh if !self.path.starts_with('/') => write!(f, "{user}{}:{}", self.host, self.path),
            Scheme::Ssh => {
                let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "ssh://{user}{}{port}{}", self.host, self.path)
            }
            Scheme::Https | Scheme::Http => write!(f, "{}{}", self.origin(), self.path),
        }
    }
}

#[cfg(test)]
mod tests;
