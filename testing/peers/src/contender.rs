//! Who is measured.

use aya::Ebpf;
use aya::programs::Xdp;

use crate::gabion::Gabion;
use crate::header::Header;
use crate::live::{Generator, passes};
use crate::object;
use crate::stand::{Addressee, Stand};

/// What went wrong, in words for whoever runs the bench.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Says how many packets came through.
type Passed = Box<dyn Fn(&Stand) -> Result<u64, Failure> + Send>;

/// What decides in a stand.
enum Decider {
    /// One of the generator's bare programs.
    Bare(&'static str),
    /// The product.
    Gabion(Box<Gabion>),
    /// One of the designs by identities, with its tables.
    Reference(Box<Ebpf>, &'static str),
    /// Something in the network stack, and how to ask it how many packets it let through.
    Stack(Passed),
}

/// Someone who decides, in place.
pub struct Contender {
    /// Name, for people.
    pub name: String,
    stand: Stand,
    decider: Decider,
}

impl Contender {
    /// One of the generator's bare programs.
    pub fn bare(generator: &mut Generator, port: u32, name: &str, program: &'static str) -> Result<Self, Failure> {
        let mut stand = Stand::new(generator, port, Addressee::Stranger)?;
        stand.attach(generator, program)?;
        let fd = generator.program(program)?.fd()?.try_clone()?;
        generator.run_at(port, &fd)?;
        Ok(Self { name: name.to_owned(), stand, decider: Decider::Bare(program) })
    }

    /// The product in a stand.
    pub fn gabion(generator: &mut Generator, name: &str, stand: Stand, gabion: Gabion) -> Result<Self, Failure> {
        generator.run_at(stand.port(), gabion.program().fd()?)?;
        Ok(Self { name: name.to_owned(), stand, decider: Decider::Gabion(Box::new(gabion)) })
    }

    /// A design by identities.
    pub fn reference(
        generator: &mut Generator,
        port: u32,
        name: &str,
        mut tables: Ebpf,
        program: &'static str,
    ) -> Result<Self, Failure> {
        let stand = Stand::new(generator, port, Addressee::Stranger)?;
        let loaded = object::program(&mut tables, program)?;
        stand.host().run(|| loaded.attach_to_if_index(stand.ifindex(), aya::programs::XdpMode::Driver))?;
        generator.run_at(port, loaded.fd()?)?;
        Ok(Self { name: name.to_owned(), stand, decider: Decider::Reference(Box::new(tables), program) })
    }

    /// Something in the network stack that is in place in `stand`.
    pub fn stack(name: &str, stand: Stand, passed: impl Fn(&Stand) -> Result<u64, Failure> + Send + 'static) -> Self {
        Self { name: name.to_owned(), stand, decider: Decider::Stack(Box::new(passed)) }
    }

    /// Where it is.
    #[must_use]
    pub fn stand(&self) -> &Stand {
        &self.stand
    }

    /// The product, if it is that.
    #[must_use]
    pub fn as_gabion(&self) -> Option<&Gabion> {
        if let Decider::Gabion(gabion) = &self.decider { Some(gabion) } else { None }
    }

    /// Its XDP program, if it is one.
    pub fn program<'c>(&'c mut self, generator: &'c mut Generator) -> Result<Option<&'c Xdp>, Failure> {
        Ok(match &mut self.decider {
            Decider::Bare(name) => Some(generator.program(name)?),
            Decider::Gabion(gabion) => Some(gabion.program()),
            Decider::Reference(tables, name) => Some(object::program(tables, name)?),
            Decider::Stack(_) => None,
        })
    }

    /// Holds what it decides against what is expected. An XDP program is asked about every packet; of something in
    /// the stack the number of packets that it let through is compared.
    pub fn verify(&mut self, generator: &mut Generator, trace: &[Header], expected: &[bool]) -> Result<(), Failure> {
        if let Decider::Stack(passed) = &self.decider {
            let wanted = expected.iter().filter(|&&pass| pass).count() as u64;
            let before = passed(&self.stand)?;
            generator.send(self.stand.port(), trace.len() as u32)?;
            let found = passed(&self.stand)? - before;
            return if found == wanted {
                Ok(())
            } else {
                Err(format!("{}: {found} packets of {} passed, {wanted} should", self.name, trace.len()).into())
            };
        }
        let name = self.name.clone();
        let Some(program) = self.program(generator)? else { return Ok(()) };
        let mut wrong = 0;
        let mut first = None;
        for (header, &pass) in trace.iter().zip(expected) {
            if passes(program, &header.frame(pass))? != pass {
                wrong += 1;
                first.get_or_insert((header, pass));
            }
        }
        match first {
            None => Ok(()),
            Some((header, pass)) => {
                let should = if pass { "pass" } else { "be dropped" };
                Err(format!("{name}: {wrong} of {} verdicts are wrong, first: {header:?} should {should}", trace.len())
                    .into())
            }
        }
    }

    /// Takes it away.
    pub fn remove(self, generator: &mut Generator) -> Result<(), Failure> {
        if let Decider::Gabion(gabion) = self.decider {
            gabion.remove(&self.stand)?;
        }
        self.stand.remove(generator)
    }
}
