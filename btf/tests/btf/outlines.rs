//! Types as C declares them, with places and sizes.

use gabion_btf::Btf;
use gabion_testing_types::{BOOL, Build, SIGNED};

/// Members are laid out as C does it on a machine of 64 bits.
fn thread() -> Btf {
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    let long = b.int("long unsigned int", 8, 0);
    let byte = b.int("unsigned char", 1, 0);
    let boolean = b.int("_Bool", 1, BOOL);
    let other = b.forward("other");
    let (name, grid) = (b.array(byte, 16), b.array(int, 3));
    let grid = b.array(grid, 2);
    let constant = b.constant(byte);
    let (text, held) = (b.pointer(constant), b.pointer(other));
    let held = b.constant(held);
    let pointed = b.pointer(name);
    let call = b.function("call", &[("file", held), ("", long), ("", 0)], int) - 1;
    let call = b.pointer(call);
    let halves = b.structure("", 8, &[("low", int, 0, 0), ("high", int, 32, 0)]);
    let either = b.union("", 8, &[("whole", long, 0, 0), ("", halves, 0, 0)]);
    let kinds = b.enumeration("", true, &[("IDLE", -1), ("BUSY", 1)]);
    let pair = b.structure("", 2, &[("a", byte, 0, 0), ("b", byte, 8, 0)]);
    let pairs = b.array(pair, 2);
    let word = b.typedef("word_t", long);
    b.typedef("pair_t", pair);
    b.enumeration("colour", false, &[("RED", 0), ("BLUE", 2)]);
    b.structure(
        "thread",
        136,
        &[
            ("id", int, 0, 0),
            ("running", int, 32, 1),
            ("level", int, 33, 7),
            ("", either, 64, 0),
            ("name", name, 128, 0),
            ("grid", grid, 256, 0),
            ("text", text, 448, 0),
            ("held", held, 512, 0),
            ("pointed", pointed, 576, 0),
            ("call", call, 640, 0),
            ("kind", kinds, 704, 0),
            ("pairs", pairs, 736, 0),
            ("word", word, 768, 0),
            ("on", boolean, 832, 0),
            ("rest", name, 896, 0),
        ],
    );
    Btf::parse(b.bytes()).unwrap()
}

fn shown(btf: &Btf, name: &str) -> String {
    btf.outlines(name).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_struct_is_shown_with_places_sizes_and_declarations() {
    let expected = "\
/*             136 */ struct thread {
/*        0      4 */     int id;
/*      4:0     1b */     int running : 1;
/*      4:1     7b */     int level : 7;
/*        8      8 */     union {
/*        8      8 */         long unsigned int whole;
/*        8      8 */         struct {
/*        8      4 */             int low;
/*       12      4 */             int high;
                              };
                          };
/*       16     16 */     unsigned char name[16];
/*       32     24 */     int grid[2][3];
/*       56      8 */     const unsigned char *text;
/*       64      8 */     struct other *const held;
/*       72      8 */     unsigned char (*pointed)[16];
/*       80      8 */     int (*call)(struct other *const file, long unsigned int, ...);
/*       88      4 */     enum {
                              IDLE = -1,
                              BUSY = 1,
                          } kind;
/*       92      4 */     struct {
/*       92      1 */         unsigned char a;
/*       93      1 */         unsigned char b;
                          } pairs[2];
/*       96      8 */     word_t word;
/*      104      1 */     _Bool on;
/*      112     16 */     unsigned char rest[16];
                      };
";
    assert_eq!(shown(&thread(), "thread"), expected);
}

#[test]
fn other_types_are_shown_as_they_are_defined() {
    let btf = thread();
    assert_eq!(shown(&btf, "word_t"), "/*               8 */ typedef long unsigned int word_t;\n");
    assert_eq!(shown(&btf, "int"), "/*               4 */ int;\n");
    let colours = "/*               4 */ enum colour {\n                          RED = 0,\n                          \
                   BLUE = 2,\n                      };\n";
    assert_eq!(shown(&btf, "enum colour"), colours);
    assert!(shown(&btf, "pair_t").starts_with("/*               2 */ typedef struct {\n"));
    assert!(shown(&btf, "pair_t").ends_with("\n                      } pair_t;\n"));
}

#[test]
fn a_type_that_is_not_there_is_told_with_its_nearest() {
    let told = |name: &str| thread().outlines(name).unwrap_err().to_string();
    assert_eq!(told("thraed"), "BTF in memory: there is no type thraed; there is thread");
    assert_eq!(told("union thread"), "BTF in memory: there is no union thread");
}

/// Two of everything within two of everything: what is shown is bounded, and so is a prototype of prototypes.
#[test]
fn what_grows_without_end_is_refused() {
    let mut b = Build::new();
    let mut inner = b.int("int", 4, SIGNED);
    for depth in 0..30 {
        let name = if depth == 29 { "outer" } else { "" };
        inner = b.union(name, 4, &[("", inner, 0, 0), ("", inner, 0, 0)]);
    }
    let error = Btf::parse(b.bytes()).unwrap().outlines("outer").unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
    let mut b = Build::new();
    let mut of = b.int("int", 4, SIGNED);
    for _ in 0..14 {
        of = b.function("f", &[("a", of), ("b", of)], of) - 1;
        of = b.pointer(of);
    }
    b.structure("s", 8, &[("f", of, 0, 0)]);
    let shown = shown(&Btf::parse(b.bytes()).unwrap(), "s");
    assert!(shown.contains('…') && shown.len() < 4096, "{shown}");
    // A struct within itself, and a member behind the end.
    let mut b = Build::new();
    b.structure("s", 8, &[("", 1, 0, 0)]);
    assert!(Btf::parse(b.bytes()).unwrap().outlines("s").is_ok());
    let mut b = Build::new();
    let int = b.int("int", 4, SIGNED);
    b.structure("s", 8, &[("a", int, 40, 0)]);
    assert!(Btf::parse(b.bytes()).unwrap().outlines("s").unwrap_err().to_string().contains("not inside"));
}
