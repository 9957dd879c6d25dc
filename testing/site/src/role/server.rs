//! The sides that wait: Modbus/TCP and IEC 60870-5-104 of the RTU, maintenance ports of relays and gateway.

use std::future::{self, Future};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response};

use super::runtime;
use crate::error::{Result, SiteError};
use crate::plant::Plant;

/// Modbus/TCP.
pub const MODBUS: u16 = 502;
/// IEC 60870-5-104.
pub const IEC104: u16 = 2404;
/// Maintenance, as SSH.
pub const SSH: u16 = 22;
/// MMS, which the relays of this plant do not offer to anyone.
pub const MMS: u16 = 102;

/// Holding registers that the RTU has.
pub const REGISTERS: u16 = 64;

/// What the RTU was asked.
#[derive(Debug, Default)]
pub struct Asked {
    /// Modbus requests that read.
    pub reads: AtomicU64,
    /// Modbus requests that change something.
    pub writes: AtomicU64,
    /// IEC 104 frames.
    pub telecontrol: AtomicU64,
}

/// The servers of a plant. Dropping ends them.
pub struct Servers {
    /// What the RTU was asked so far.
    pub asked: Arc<Asked>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Fails only when every server is gone already.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Starts all servers; they listen when this returns.
pub fn serve(plant: &Plant) -> Result<Servers> {
    let (stop, _) = watch::channel(false);
    let mut servers = Servers { asked: Arc::default(), stop, threads: Vec::new() };
    for host in [&plant.rtu, &plant.ied1, &plant.ied2, &plant.gateway] {
        let is_rtu = std::ptr::eq(host, &plant.rtu);
        let asked = Arc::clone(&servers.asked);
        let mut stopped = servers.stop.subscribe();
        let (ready, listening) = std::sync::mpsc::sync_channel::<Result<()>>(1);
        let thread = host.spawn(move || {
            let runtime = match runtime("server") {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let bound = if is_rtu {
                    let modbus = listen(MODBUS).await;
                    let telecontrol = listen(IEC104).await;
                    modbus.and_then(|modbus| Ok((modbus, Some(telecontrol?))))
                } else {
                    listen(SSH).await.map(|ssh| (ssh, None))
                };
                let (first, second) = match bound {
                    Ok(bound) => bound,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                if ready.send(Ok(())).is_err() {
                    return;
                }
                let until = async { drop(stopped.wait_for(|&stop| stop).await) };
                let work = async {
                    match second {
                        Some(telecontrol) => {
                            tokio::join!(modbus(first, Arc::clone(&asked)), iec104(telecontrol, asked));
                        }
                        None => banner(first).await,
                    }
                };
                tokio::select! { () = until => {}, () = work => {} }
            });
        })?;
        servers.threads.push(thread);
        listening.recv().map_err(|_| SiteError::Role { role: "server", what: String::from("ended early") })??;
    }
    Ok(servers)
}

async fn listen(port: u16) -> Result<TcpListener> {
    // One socket for both families: the namespace has bindv6only off.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    TcpListener::bind(address)
        .await
        .map_err(|error| SiteError::Role { role: "server", what: format!("listen on port {port}: {error}") })
}

struct Rtu {
    asked: Arc<Asked>,
}

impl tokio_modbus::server::Service for Rtu {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<std::result::Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let within = |first: u16, count: u16| count > 0 && u32::from(first) + u32::from(count) <= u32::from(REGISTERS);
        // A register holds its own number, so that a reader can tell right from wrong.
        let registers = |first: u16, count: u16| (first..first + count).collect::<Vec<u16>>();
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        future::ready(match request {
            Request::ReadHoldingRegisters(first, many) if within(first, many) => {
                count(&self.asked.reads);
                Ok(Response::ReadHoldingRegisters(registers(first, many)))
            }
            Request::ReadInputRegisters(first, many) if within(first, many) => {
                count(&self.asked.reads);
                Ok(Response::ReadInputRegisters(registers(first, many)))
            }
            Request::WriteSingleCoil(at, coil) => {
                count(&self.asked.writes);
                Ok(Response::WriteSingleCoil(at, coil))
            }
            Request::ReadHoldingRegisters(..) | Request::ReadInputRegisters(..) => {
                Err(ExceptionCode::IllegalDataAddress)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

async fn modbus(listener: TcpListener, asked: Arc<Asked>) {
    let connected = |stream, peer| {
        let asked = Arc::clone(&asked);
        async move { accept_tcp_connection(stream, peer, move |_| Ok(Some(Rtu { asked: Arc::clone(&asked) }))) }
    };
    // A peer that breaks off ends its own connection only; an error here ends the server, and the
    // HMI's polls show it.
    let _ = Server::new(listener).serve(&connected, |_| {}).await;
}

/// U-format frames of IEC 60870-5-104: start byte, length, first control octet, three zeroes.
pub mod u_format {
    #![allow(missing_docs)]
    pub const START_ACT: [u8; 6] = [0x68, 4, 0x07, 0, 0, 0];
    pub const START_CON: [u8; 6] = [0x68, 4, 0x0b, 0, 0, 0];
    pub const TEST_ACT: [u8; 6] = [0x68, 4, 0x43, 0, 0, 0];
    pub const TEST_CON: [u8; 6] = [0x68, 4, 0x83, 0, 0, 0];
}

async fn iec104(listener: TcpListener, asked: Arc<Asked>) {
    accept(listener, move |mut stream| {
        let asked = Arc::clone(&asked);
        async move {
            let mut frame = [0; 6];
            while stream.read_exact(&mut frame).await.is_ok() {
                asked.telecontrol.fetch_add(1, Ordering::Relaxed);
                let answer = match frame {
                    u_format::START_ACT => u_format::START_CON,
                    u_format::TEST_ACT => u_format::TEST_CON,
                    _ => return,
                };
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
}

/// First line of a maintenance server.
pub const BANNER: &[u8] = b"SSH-2.0-gabion_plant\r\n";

async fn banner(listener: TcpListener) {
    accept(listener, |mut stream| async move {
        // The client closes when it has seen enough; either error is its own affair.
        let _ = stream.write_all(BANNER).await;
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
}

/// Connections that are served at once: beyond that new ones wait in the kernel's queue.
const CONNECTIONS: usize = 256;

async fn accept<F: Future<Output = ()> + Send + 'static>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while open.len() >= CONNECTIONS {
            open.join_next().await;
        }
        while open.try_join_next().is_some() {}
        open.spawn(serve(stream));
    }
}
