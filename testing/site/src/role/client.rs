//! The sides that ask: HMI, historian, laptop.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, Reader as _, Writer as _, tcp};

use super::server::{BANNER, IEC104, MODBUS, REGISTERS, SSH, u_format};
use super::{PATIENCE, play};
use crate::error::Result;
use crate::host::Host;

/// Requests sent, and those of them that were answered as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
}

/// Polls registers over one Modbus/TCP connection and, when it may operate, switches a coil at the end.
pub fn poll(host: &Host, rtu: IpAddr, polls: u16, pause: Duration, operates: bool) -> Result<Answered> {
    play(host, "modbus client", async {
        let mut count = Answered { sent: u64::from(polls) + u64::from(operates), answered: 0 };
        let Ok(Ok(mut rtu)) = timeout(PATIENCE, tcp::connect(SocketAddr::new(rtu, MODBUS))).await else {
            return count;
        };
        for n in 0..polls {
            if !read(&mut rtu, n % (REGISTERS - 8)).await {
                return count;
            }
            count.answered += 1;
            tokio::time::sleep(pause).await;
        }
        if operates && matches!(timeout(PATIENCE, rtu.write_single_coil(1, true)).await, Ok(Ok(Ok(())))) {
            count.answered += 1;
        }
        // The connection ends with the context whether or not the peer heard of it.
        let _ = rtu.disconnect().await;
        count
    })
}

async fn read(rtu: &mut Context, first: u16) -> bool {
    let answer = timeout(PATIENCE, rtu.read_holding_registers(first, 8)).await;
    matches!(answer, Ok(Ok(Ok(words))) if words == (first..first + 8).collect::<Vec<_>>())
}

/// Keeps an IEC 104 link alive for a while: STARTDT, then TESTFR.
pub fn keep_alive(host: &Host, rtu: IpAddr, tests: u16, pause: Duration) -> Result<Answered> {
    play(host, "iec 104 client", async {
        let mut count = Answered { sent: u64::from(tests) + 1, answered: 0 };
        let Some(mut stream) = connect(SocketAddr::new(rtu, IEC104)).await else { return count };
        for n in 0..=tests {
            let (ask, expected) = match n {
                0 => (u_format::START_ACT, u_format::START_CON),
                _ => (u_format::TEST_ACT, u_format::TEST_CON),
            };
            let mut answer = [0; 6];
            let exchange = async {
                stream.write_all(&ask).await?;
                stream.read_exact(&mut answer).await
            };
            if !matches!(timeout(PATIENCE, exchange).await, Ok(Ok(_))) || answer != expected {
                return count;
            }
            count.answered += 1;
            tokio::time::sleep(pause).await;
        }
        count
    })
}

/// Logs in at a maintenance port: answered when the server's banner came.
pub fn log_in(host: &Host, server: IpAddr) -> Result<Answered> {
    play(host, "maintenance client", async {
        let mut count = Answered { sent: 1, answered: 0 };
        if let Some(mut stream) = connect(SocketAddr::new(server, SSH)).await {
            let mut banner = vec![0; BANNER.len()];
            if matches!(timeout(PATIENCE, stream.read_exact(&mut banner)).await, Ok(Ok(_))) && banner == BANNER {
                count.answered = 1;
            }
        }
        count
    })
}

/// Tries to connect to several ports at once. What came of it, the taps at the servers know.
pub fn knock(host: &Host, doors: &[SocketAddr]) -> Result<()> {
    play(host, "client", async {
        let mut tries = tokio::task::JoinSet::new();
        for &door in doors {
            tries.spawn(connect(door));
        }
        tries.join_all().await;
    })
}

async fn connect(server: SocketAddr) -> Option<TcpStream> {
    timeout(PATIENCE, TcpStream::connect(server)).await.ok()?.ok()
}
