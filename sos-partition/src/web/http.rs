//! Requests of HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), as much of them as three resources need, and answers.
//!
//! A connection carries one request, whose body, if it has one, is not read. All of a head is checked, of a client that is
//! believed nothing; what is more than [`HEAD_MAX`] is not kept.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Most bytes of a head.
pub const HEAD_MAX: usize = 2048;

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// `/`: the page for people.
    Page,
    /// `/api/v1/vms`: the list of VMs for programs.
    VmList,
}

/// Why something is refused (RFC 9110 §15, RFC 6585 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Refusal {
    /// Not a request.
    BadRequest = 400,
    /// No such resource.
    NotFound = 404,
    /// Not `GET`.
    MethodNotAllowed = 405,
    /// A head of more than [`HEAD_MAX`] bytes.
    HeadTooLarge = 431,
    /// What was asked for could not be made.
    Internal = 500,
    /// Another major version.
    Version = 505,
}

impl Refusal {
    const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Internal => "Internal Server Error",
            Self::Version => "HTTP Version Not Supported",
        }
    }
}

/// What the head at the start of `bytes` asks for; `None` while its end has not come.
///
/// # Errors
/// The answer to what cannot be served.
pub fn parse(bytes: &[u8]) -> Option<Result<Resource, Refusal>> {
    // An empty line before the request is a mistake of old clients (RFC 9112 §2.2).
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let Some(head) = head(bytes) else {
        // A client that speaks something else, such as TLS, waits for an answer, too.
        let garbage = bytes.first().is_some_and(|&byte| !is_token(byte) && byte != b'\r');
        let refusal = if garbage { Refusal::BadRequest } else { Refusal::HeadTooLarge };
        return (garbage || bytes.len() >= HEAD_MAX).then_some(Err(refusal));
    };
    Some(if head.len() > HEAD_MAX { Err(Refusal::HeadTooLarge) } else { request(head) })
}

/// The lines up to the empty one. A line may end without CR (RFC 9112 §2.2).
fn head(bytes: &[u8]) -> Option<&[u8]> {
    let mut start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(bytes[start..at], [] | [b'\r']) && start != 0 {
            return Some(&bytes[..start]);
        }
        start = at + 1;
    }
    None
}

/// A whole head, each of whose lines ends in LF.
fn request(head: &[u8]) -> Result<Resource, Refusal> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut parts = lines.next().unwrap_or_default().split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::BadRequest);
    };
    let readable = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    if method.is_empty() || !method.iter().copied().all(is_token) || !readable {
        return Err(Refusal::BadRequest);
    }
    let minor = match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] => minor - b'0',
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Refusal::Version),
        _ => return Err(Refusal::BadRequest),
    };
    let hosts = hosts(lines)?;
    // One, where the version has it (RFC 9112 §3.2).
    if hosts > 1 || minor >= 1 && hosts == 0 {
        return Err(Refusal::BadRequest);
    }
    if method != b"GET" {
        return Err(Refusal::MethodNotAllowed);
    }
    resource(target).ok_or(Refusal::NotFound)
}

/// How many fields `Host` there are. Behind the last line is an empty piece.
fn hosts<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<usize, Refusal> {
    let mut hosts = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Refusal::BadRequest)?;
        let (name, value) = line.split_at(colon);
        // Neither white space before the colon nor a line that goes on the one before (RFC 9112 §5.1, §5.2).
        let good = |&byte: &u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
        if name.is_empty() || !name.iter().copied().all(is_token) || !value.iter().all(good) {
            return Err(Refusal::BadRequest);
        }
        hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
    }
    Ok(hosts)
}

/// The resource of a target in origin or absolute form (RFC 9112 §3.2); its query says nothing to it.
fn resource(target: &[u8]) -> Option<Resource> {
    let origin = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http://") => {
            let path = target[7..].iter().position(|byte| matches!(byte, b'/' | b'?'));
            path.map_or(&b"/"[..], |path| &target[7 + path..])
        }
        _ => target,
    };
    match origin.split(|&byte| byte == b'?').next()? {
        b"/" => Some(Resource::Page),
        b"/api/v1/vms" => Some(Resource::VmList),
        _ => None,
    }
}

/// A letter of methods and names of fields (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// A body and its type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Of `Content-Type`.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
}

/// The bytes of an answer, after which the connection is closed. A browser takes nothing from elsewhere for the page, runs
/// no script in it, and keeps it nowhere.
pub fn answer(content: Result<Content, Refusal>) -> Vec<u8> {
    let (status, reason, content) = match content {
        Ok(content) => (200, "OK", content),
        Err(refusal) => (refusal as u16, refusal.reason(), refused(refusal)),
    };
    let allow = if status == Refusal::MethodNotAllowed as u16 { "Allow: GET\r\n" } else { "" };
    let Content { media_type, body } = content;
    format!(
        "HTTP/1.1 {status} {reason}\r\n{allow}Content-Type: {media_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\nCache-Control: no-store\r\nContent-Security-Policy: default-src 'none'\r\n\
         X-Content-Type-Options: nosniff\r\n\r\n{body}",
        body.len(),
    )
    .into_bytes()
}

/// What people see of a refusal. An answer to HEAD has no body (RFC 9110 §9.3.2), and that is one method of those that
/// are refused.
fn refused(refusal: Refusal) -> Content {
    let body = match refusal {
        Refusal::MethodNotAllowed => String::new(),
        other => format!("{} {}\n", other as u16, other.reason()),
    };
    Content { media_type: "text/plain; charset=utf-8", body }
}

#[cfg(test)]
mod tests;
