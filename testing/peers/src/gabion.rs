//! The product, staged and attached as its agent does it.

use std::path::Path;
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use gabion_abi::event::Settings;
use gabion_abi::facts::{Address, FAMILY_V4};
use gabion_abi::verdict::{Interface, interface};
use gabion_generation::{InterfaceEntry, Node, Programs, Sizes};
use gabion_policy_compile::Compiled;
use gabion_policy_model::PolicySet;
use gabion_policy_model::site::Site;

use crate::Failure;
use crate::stand::{DEVICE, Stand};

/// Addresses of the node itself; no trace names them.
const LOCAL: [u32; 2] = [0x7f00_0001, 0xa9fe_0001];

/// A generation in force.
pub struct Gabion {
    node: Node,
    ingress: Xdp,
    /// Bytes of its tables.
    pub table_bytes: usize,
    /// From compiled tables in memory to a verified generation in the kernel.
    pub load: Duration,
    /// Instructions of the ingress program once the kernel rewrote it, bytes.
    pub translated_bytes: u32,
    /// Its machine code, bytes.
    pub jited_bytes: u32,
    /// Instructions that the verifier walked.
    pub verified: u32,
}

impl Gabion {
    /// Stages and commits `compiled` in a stand and guards its device. `folder` must exist.
    pub fn install(stand: &Stand, set: &PolicySet, compiled: &Compiled, folder: &Path) -> Result<Self, Failure> {
        stand.host().mount_bpffs(folder)?;
        let ifindex = stand.ifindex();
        stand.host().run(|| Self::install_here(ifindex, set, compiled, &folder.join("node")))
    }

    fn install_here(ifindex: u32, set: &PolicySet, compiled: &Compiled, root: &Path) -> Result<Self, Failure> {
        let site = set.site.clone().unwrap_or_else(Site::default);
        let limits = site.connections;
        let sizes = Sizes {
            established: limits.established,
            opening: limits.opening,
            fragments: limits.fragments,
            ..Sizes::default()
        };
        let (mut node, _) = Node::open(root, &sizes, Programs::parse()?)?;
        let mut settings = Settings {
            denied_rate: site.events.denied_rate,
            denied_burst: site.events.denied_burst,
            allowed_rate: site.events.allowed_rate,
            allowed_sample: site.events.allowed_sample,
            failsafe_count: site.failsafe.len() as u32,
            ..Settings::default()
        };
        for (slot, port) in settings.failsafe.iter_mut().zip(&site.failsafe) {
            *slot = u32::from(port.protocol) << 16 | u32::from(port.port);
        }
        let entry =
            InterfaceEntry { ifindex, interface: Interface { flags: interface::JUDGED, ..Interface::default() } };
        let start = Instant::now();
        let staged = node.stage(compiled, &[entry])?;
        let load = start.elapsed();
        node.set_settings(&settings)?;
        node.set_local(&LOCAL.map(|address| (FAMILY_V4, Address::v4(address))))?;
        let number = staged.number();
        let [ingress, _] = staged.programs()?;
        node.commit(staged)?;
        node.attach(DEVICE, entry)?;
        let path = root.join("generations").join(number.to_string()).join(gabion_kernel_object::INGRESS);
        Ok(Self {
            ingress: Xdp::from_pin(path, XdpAttachType::Interface)?,
            node,
            table_bytes: compiled.stats.bytes,
            load,
            translated_bytes: ingress.size_translated().unwrap_or(0),
            jited_bytes: ingress.size_jitted(),
            verified: ingress.verified_instruction_count().unwrap_or(0),
        })
    }

    /// The program that judges what arrives.
    #[must_use]
    pub fn program(&self) -> &Xdp {
        &self.ingress
    }

    /// Takes hooks, generation and state away.
    pub(crate) fn remove(self, stand: &Stand) -> Result<(), Failure> {
        let Self { node, ingress, .. } = self;
        drop(ingress);
        Ok(stand.host().run(|| node.detach_all())?)
    }
}
