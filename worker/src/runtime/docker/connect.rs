//! The way to one Docker engine: a socket, plain TCP, TLS with a client certificate, or a socket behind `sshd`.
//!
//! Guarantees: nothing is dialled before the first call; every call has a deadline; a tunnel that died is dug anew by the
//! next call, and its process never outlives the host's last user.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::config::{Address, Tls};
use super::failure::{Fault, gone};
use super::tunnel::Tunnel;

/// Longest that any call may be set to take by its caller: a program's grace and some more.
const CALL_MAX: Duration = Duration::from_secs(3600);

/// One engine.
pub(super) struct Host {
    address: Address,
    name: String,
    connect: Duration,
    answer: Duration,
    link: Mutex<Option<Arc<Link>>>,
}

/// An open way to it. Streams hold on to it, so that a tunnel stays as long as what comes through it.
pub(super) struct Link {
    pub(super) docker: Docker,
    tunnel: Option<Tunnel>,
}

impl Host {
    pub(super) fn new(address: Address, connect: Duration, answer: Duration) -> Self {
        let name = address.to_string();
        Self { address, name, connect, answer, link: Mutex::new(None) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    pub(super) async fn link(&self) -> Result<Arc<Link>, Stop> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref()
            && link.tunnel.as_ref().is_none_or(Tunnel::is_alive)
        {
            return Ok(Arc::clone(link));
        }
        *link = None;
        let open = self.open();
        let opened = tokio::time::timeout(self.connect, open)
            .await
            .map_err(|late| gone(&self.name, "connect to engine", late))??;
        Ok(Arc::clone(link.insert(Arc::new(opened))))
    }

    async fn open(&self) -> Result<Link, Stop> {
        let seconds = CALL_MAX.as_secs();
        let cannot = |error| gone(&self.name, "connect to engine", error);
        let (docker, tunnel) = match &self.address {
            Address::Unix(path) => {
                let path = path.to_string_lossy();
                (Docker::connect_with_unix(&path, seconds, API_DEFAULT_VERSION).map_err(cannot)?, None)
            }
            Address::Tcp(address) => {
                (Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION).map_err(cannot)?, None)
            }
            Address::Tls(tls) => (over_tls(tls, seconds).map_err(cannot_use)?.map_err(cannot)?, None),
            Address::Ssh(ssh) => {
                let tunnel = Tunnel::dig(ssh).await?;
                let path = tunnel.socket();
                let docker = Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
                    .map_err(cannot)?;
                (docker, Some(tunnel))
            }
        };
        let docker = docker.negotiate_version().await.map_err(cannot)?;
        Ok(Link { docker, tunnel })
    }

    /// Waits for an answer for as long as an answer may take.
    pub(super) async fn call<T>(
        &self,
        doing: &'static str,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Fault> {
        self.call_within(self.answer, doing, call).await
    }

    pub(super) async fn call_within<T>(
        &self,
        most: Duration,
        doing: &'static str,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(most, call).await {
            Ok(answer) => answer.map_err(|error| Fault::of(error, &self.name, doing)),
            Err(late) => Err(Fault::Stop(gone(&self.name, doing, late))),
        }
    }

    pub(super) fn answer(&self) -> Duration {
        self.answer
    }
}

#[cfg(test)]
impl Link {
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.as_ref()
    }
}

fn cannot_use(error: rustls::Error) -> Stop {
    Error::new(
        Code::TargetConnection,
        "the target's TLS data cannot be used; give the CA, the client's certificate and its key as PEM, the key being the certificate's",
    )
    .context("read TLS data")
    .because(error)
    .into()
}

/// Our own connector: the library's would trust the system's authorities beside the one that was given, and reads files.
fn over_tls(tls: &Tls, seconds: u64) -> Result<Result<Docker, bollard::errors::Error>, rustls::Error> {
    let unreadable = |_| rustls::Error::General("not PEM".into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    let chain = CertificateDer::pem_slice_iter(tls.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose_secret().as_bytes()).map_err(unreadable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    // Every call dials: a kept connection that the engine has closed would fail the call after it.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        async move { client.request(request).await.map_err(bollard::errors::Error::from) }
    };
    let address = format!("https://{}", tls.address);
    Ok(Docker::connect_with_custom_transport(transport, Some(address), seconds, API_DEFAULT_VERSION))
}
