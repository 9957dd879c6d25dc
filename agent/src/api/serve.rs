//! The sockets, and what a hostile or slow client can take: bounded connections, headers, bodies and time.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::routes::{Access, Shared, answer};
use crate::api::wire::Problem;
use crate::life::problem;

/// Connections at once over the Unix socket.
const CONNECTION_LIMIT: usize = 64;
/// Connections at once over TCP: on their own, because whoever may run a program on the node reaches that socket,
/// and must not be able to keep its owner from the other.
const TCP_CONNECTION_LIMIT: usize = 32;
/// Bytes of a request's head.
const HEAD_LIMIT: usize = 16 << 10;
/// Headers of a request.
const HEADER_LIMIT: usize = 64;
/// A request's head must be there within this time.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A connection that does not follow events is over after this time. An apply of the largest policies takes seconds.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Pause after a failed accept (usually: no file descriptors left), so that it is not tried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The Unix socket; the file goes away with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone already; nothing depends on it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the Unix socket, for root alone. A stale one is replaced: the caller holds the agent's lock.
pub fn bind_unix(path: &Path) -> Result<UnixSocket, Problem> {
    let refused = |action: &str, error: io::Error| {
        problem("api-socket", "system", format!("{}: cannot {action}: {error}", path.display()))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| refused("create its folder", error))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(kind) if kind.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                let message =
                    format!("{}: another agent answers here; give this one a --socket of its own", path.display());
                return Err(problem("api-socket", "input", message));
            }
            std::fs::remove_file(path).map_err(|error| refused("replace the old socket", error))?;
        }
        Ok(_) => {
            let message =
                format!("{}: exists and is no socket; move it away or choose another --socket", path.display());
            return Err(problem("api-socket", "input", message));
        }
        Err(_) => {}
    }
    // From its first moment nobody else may connect: the mask, not a chmod afterwards, decides.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.map_err(|error| refused("bind", error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|error| refused("chmod", error))?;
    Ok(UnixSocket { listener, path: path.to_owned() })
}

/// Binds the read-only TCP socket; only loopback addresses are accepted.
pub async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Problem> {
    if !address.ip().is_loopback() {
        let message = format!(
            "--listen {address}: not a loopback address; the API has no transport security of its own, put a proxy with \
             authentication before it"
        );
        return Err(problem("api-listen", "input", message));
    }
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| problem("api-listen", "system", format!("--listen {address}: cannot bind: {error}")))
}

/// Counts a connection while it lives.
struct Seat(Rc<Cell<usize>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The connections of one socket.
struct Room {
    access: Access,
    limit: usize,
    taken: Rc<Cell<usize>>,
}

impl Room {
    fn new(access: Access, limit: usize) -> Self {
        Self { access, limit, taken: Rc::default() }
    }

    fn seat(&self) -> Option<Seat> {
        (self.taken.get() < self.limit).then(|| {
            self.taken.set(self.taken.get() + 1);
            Seat(Rc::clone(&self.taken))
        })
    }
}

/// Serves both sockets until the future is dropped. Needs a `LocalSet`.
pub async fn serve(shared: Rc<Shared>, unix: UnixSocket, tcp: Option<TcpListener>) {
    let local = async {
        let room = Room::new(Access::Full, CONNECTION_LIMIT);
        loop {
            match unix.listener.accept().await {
                Ok((stream, _)) => admit(&shared, &room, stream),
                Err(error) => pause(&error).await,
            }
        }
    };
    let loopback = async {
        let Some(tcp) = &tcp else { return std::future::pending().await };
        let room = Room::new(Access::ReadOnly, TCP_CONNECTION_LIMIT);
        loop {
            match tcp.accept().await {
                Ok((stream, _)) => admit(&shared, &room, stream),
                Err(error) => pause(&error).await,
            }
        }
    };
    tokio::join!(local, loopback);
}

async fn pause(error: &io::Error) {
    tracing::warn!("the API cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn admit<S: AsyncRead + AsyncWrite + Unpin + 'static>(shared: &Rc<Shared>, room: &Room, stream: S) {
    match room.seat() {
        Some(seat) => {
            tokio::task::spawn_local(converse(Rc::clone(shared), room.access, stream, seat));
        }
        // Dropping the stream closes it.
        None => shared.agent.borrow_mut().connections_refused += 1,
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    shared: Rc<Shared>,
    access: Access,
    stream: S,
    _seat: Seat,
) {
    let streaming = Rc::new(Cell::new(false));
    let follows = Rc::clone(&streaming);
    let service = service_fn(move |request| answer(Rc::clone(&shared), access, Rc::clone(&streaming), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADER_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = match tokio::time::timeout(ANSWER_TIME, connection.as_mut()).await {
        Ok(outcome) => outcome,
        // A follower stays; `feed` watches that it takes what it is given.
        Err(_) if follows.get() => connection.await,
        Err(_) => return,
    };
    if let Err(error) = outcome {
        tracing::debug!("API connection: {error}");
    }
}
