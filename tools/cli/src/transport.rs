//! What a failed call means to a person: from the errors of sockets, TLS and gRPC to what happened and what to do.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use skerry_types::show_duration;
use tonic::{Code, Status};

use crate::print::plain_lines;

/// Whom a call went to.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The context's name.
    pub(crate) context: String,
    /// `https://host:port`.
    pub(crate) server: String,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub(crate) struct CallError {
    peer: Peer,
    pub(crate) fault: Fault,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing listens there.
    Refused,
    /// The address leads nowhere.
    Unreachable(String),
    /// No answer in this time.
    Silent(Duration),
    /// The connection broke.
    Lost(String),
    /// The master's certificate is from another CA.
    OtherCa,
    /// The master's certificate ran out, or this machine's clock is wrong.
    ServerExpired,
    /// The master's certificate is not acceptable for another reason.
    ServerCertificate(String),
    /// The operator's certificate ran out.
    OwnExpired,
    /// The master does not know the CA of the operator's certificate.
    OwnOtherCa,
    /// The master does not take the operator's certificate for another reason.
    OwnRefused(String),
    /// The operator's certificate and key cannot be used.
    OwnUnusable(String),
    /// What listens there does not speak this protocol.
    NotAMaster(String),
    /// The master answered with a refusal.
    Answered(Code, String),
}

impl CallError {
    pub(crate) fn new(peer: Peer, fault: Fault) -> Self {
        Self { peer, fault }
    }

    /// What it means that certificates could not be made ready for connecting.
    pub(crate) fn of_setup(peer: Peer, error: &tonic::transport::Error) -> Self {
        let fault = read_chain(error).unwrap_or_else(|| Fault::OwnUnusable(innermost(error)));
        Self { peer, fault }
    }

    /// What a status means: one that the master sent, or one that stands for a broken connection.
    pub(crate) fn of_status(peer: Peer, status: &Status) -> Self {
        let fault = match status.source() {
            None => Fault::Answered(status.code(), plain_lines(status.message())),
            Some(source) => read_chain(source).unwrap_or_else(|| Fault::Lost(innermost(source))),
        };
        Self { peer, fault }
    }

    /// Whether trying again may help without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self.fault,
            Fault::Refused
                | Fault::Unreachable(_)
                | Fault::Silent(_)
                | Fault::Lost(_)
                | Fault::Answered(Code::Unavailable | Code::ResourceExhausted | Code::Aborted, _)
        )
    }

    /// Whether the master took the call and said no to this one thing: other calls may still succeed.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(&self.fault, Fault::Answered(code, _) if !matches!(code, Code::PermissionDenied | Code::Unauthenticated))
    }

    fn sentence(&self) -> String {
        let Peer { context, server } = &self.peer;
        let master = format!("the master at {server} (context '{context}')");
        match &self.fault {
            Fault::Refused => {
                format!("nothing listens at {server} (context '{context}'): connection refused")
            }
            Fault::Unreachable(why) => format!("cannot reach {master}: {why}"),
            Fault::Silent(limit) => format!("no answer from {master} within {}", show_duration(*limit)),
            Fault::Lost(why) => format!("lost the connection to {master}: {why}"),
            Fault::OtherCa => {
                format!("{master} shows a certificate that the CA of this context did not sign")
            }
            Fault::ServerExpired => format!("{master} shows a certificate that is not valid at this time"),
            Fault::ServerCertificate(why) => {
                format!("{master} shows a certificate that cannot be trusted: {why}")
            }
            Fault::OwnExpired => {
                format!("your certificate in context '{context}' has expired: {master} does not take it")
            }
            Fault::OwnOtherCa => {
                format!("{master} does not know the CA that signed your certificate in context '{context}'")
            }
            Fault::OwnRefused(why) => {
                format!("{master} does not take your certificate in context '{context}': {why}")
            }
            Fault::OwnUnusable(why) => {
                format!("the certificates of context '{context}' cannot be used: {why}")
            }
            Fault::NotAMaster(why) => {
                format!("what listens at {server} (context '{context}') is not a master's API: {why}")
            }
            Fault::Answered(code, message) => answered(*code, message, &master),
        }
    }

    /// What to do next, where it is known.
    pub(crate) fn next(&self) -> Option<String> {
        let context = &self.peer.context;
        let text = match &self.fault {
            Fault::Refused => {
                "see whether skerry-master runs there, and whether the context has the right address"
                    .to_owned()
            }
            Fault::Unreachable(_) => {
                "see whether the address is right and the network leads there".to_owned()
            }
            Fault::Silent(_) => {
                "see whether a firewall drops 7443/tcp, or wait longer with --request-timeout".to_owned()
            }
            Fault::OtherCa | Fault::OwnOtherCa => {
                format!(
                    "copy the context file of this region again, or choose another context than '{context}'"
                )
            }
            Fault::ServerExpired => {
                "compare the clocks of both machines; a running master renews its certificate".to_owned()
            }
            Fault::OwnExpired => "have a new operator certificate made at the master".to_owned(),
            Fault::NotAMaster(_) => {
                "see whether the address and port are those of the operator API (7443/tcp)".to_owned()
            }
            Fault::Answered(Code::PermissionDenied, _) => {
                format!(
                    "use an operator's certificate: the one in context '{context}' may belong to an agent"
                )
            }
            Fault::Answered(Code::Unimplemented, _) => {
                "compare 'skerry version': the master is older than this command".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}

fn answered(code: Code, message: &str, master: &str) -> String {
    let message = if message.is_empty() { code.description() } else { message };
    match code {
        Code::PermissionDenied => format!("{master} does not permit it: {message}"),
        Code::Unauthenticated => format!("{master} does not know who you are: {message}"),
        Code::Unimplemented => format!("{master} does not know this request"),
        Code::Internal | Code::Unknown | Code::DataLoss => format!("{master} failed: {message}"),
        _ => message.to_owned(),
    }
}

/// Looks through an error and its causes for one that says what happened.
pub(crate) fn read_chain(error: &(dyn Error + 'static)) -> Option<Fault> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(fault) = read_one(error) {
            return Some(fault);
        }
        at = cause(error);
    }
    None
}

/// The next cause. An I/O error that wraps another gives that one's cause as its own, so the wrapped one is taken out.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Some(inner);
    }
    error.source()
}

fn read_one(error: &(dyn Error + 'static)) -> Option<Fault> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    let io = error.downcast_ref::<io::Error>()?;
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Some(Fault::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(Fault::Unreachable(innermost(error)))
        }
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> Fault {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Fault::OtherCa
        }
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Fault::ServerExpired,
        Tls::InvalidCertificate(other) => Fault::ServerCertificate(other.to_string()),
        Tls::AlertReceived(AlertDescription::CertificateExpired) => Fault::OwnExpired,
        Tls::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => Fault::OwnOtherCa,
        Tls::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied),
        ) => Fault::OwnRefused(format!("{alert:?}")),
        Tls::InvalidMessage(_) => Fault::NotAMaster("it does not speak TLS".to_owned()),
        Tls::InconsistentKeys(_) => {
            Fault::OwnUnusable("the key does not belong to the certificate".to_owned())
        }
        Tls::NoCertificatesPresented | Tls::General(_) => Fault::OwnUnusable(error.to_string()),
        other => Fault::Lost(other.to_string()),
    }
}

/// The text of the last cause, which says most.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(next) = cause(at) {
        at = next;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(error: impl Into<io::Error>) -> Option<Fault> {
        read_chain(&error.into())
    }

    #[test]
    fn tls_errors_are_found_inside_of_io_errors() {
        let check = |tls: rustls::Error, fault: Fault| {
            assert_eq!(fault_of(io::Error::new(io::ErrorKind::InvalidData, tls)), Some(fault));
        };
        check(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), Fault::OtherCa);
        check(rustls::Error::InvalidCertificate(CertificateError::Expired), Fault::ServerExpired);
        check(rustls::Error::AlertReceived(AlertDescription::CertificateExpired), Fault::OwnExpired);
        check(rustls::Error::AlertReceived(AlertDescription::UnknownCA), Fault::OwnOtherCa);
        assert_eq!(fault_of(io::ErrorKind::ConnectionRefused), Some(Fault::Refused));
        assert_eq!(fault_of(io::Error::other("other")), None);
    }

    #[test]
    fn refusals_say_whom_what_and_what_next() {
        let peer = Peer { context: "north".to_owned(), server: "https://h:7443".to_owned() };
        let denied = CallError::of_status(peer, &Status::permission_denied("an agent may not"));
        assert!(denied.to_string().contains("an agent may not"), "{denied}");
        assert!(denied.next().unwrap().contains("operator's certificate"));
        assert!(!denied.may_pass());
    }
}
