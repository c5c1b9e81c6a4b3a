//! Which scripts run on which ensembles, and when.
//!
//! A script is a function of the kinds of the voters. Those named `quick` run on our members in every test run; all
//! run on our members, and on Apache's as a check on the script, with `RINGKEEPER_LONG=1`.

/// Makes two tests of each line `quick|long name = script, kinds;`: `ringkeeper::name` with that many members of
/// ours, `reference::name` with as many of Apache's.
#[macro_export]
macro_rules! on_ensembles {
    ($($length:ident $name:ident = $script:ident, $members:expr;)*) => {
        /// The scripts on members of this workspace.
        mod ringkeeper {
            $(#[test]
            fn $name() {
                if $crate::tool::$length() {
                    super::$script(&[$crate::node::Server::Ringkeeper; $members]);
                }
            })*
        }
        /// The scripts on members of Apache ZooKeeper.
        mod reference {
            $(#[test]
            fn $name() {
                if $crate::tool::long() && $crate::tool::requires(&[$crate::tool::Tool::Apache]) {
                    super::$script(&[$crate::node::Server::Apache; $members]);
                }
            })*
        }
    };
}

/// Makes a test of each line `quick|long name = script, [kinds];`, where the kinds are `Ringkeeper`, `Fronts` and
/// `Apache`.
#[macro_export]
macro_rules! on_mixed_ensembles {
    ($($length:ident $name:ident = $script:ident, [$($kind:ident)*];)*) => {
        /// The scripts on ensembles of several kinds.
        mod mixed {
            $(#[test]
            fn $name() {
                if $crate::tool::$length() && $crate::tool::requires(&[$crate::tool::Tool::Apache]) {
                    super::$script(&[$($crate::node::Server::$kind),*]);
                }
            })*
        }
    };
}
