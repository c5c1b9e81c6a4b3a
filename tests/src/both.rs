//! Runs a script against the node and, as a check on the script, against Apache ZooKeeper.

/// Makes three tests of each script, which is a function of a [`Server`](crate::node::Server): `ringkeeper::script`,
/// `fronts::script` and `reference::script`. The brackets name the tools both need.
#[macro_export]
macro_rules! on_both {
    ($($script:ident [$($tool:ident)*];)*) => {
        /// The scripts on the node of this workspace.
        mod ringkeeper {
            $(#[test]
            fn $script() {
                if $crate::tool::requires(&[$($crate::tool::Tool::$tool),*]) {
                    super::$script($crate::node::Server::Ringkeeper);
                }
            })*
        }
        /// The scripts on the same with front loops.
        mod fronts {
            $(#[test]
            fn $script() {
                if $crate::tool::requires(&[$($crate::tool::Tool::$tool),*]) {
                    super::$script($crate::node::Server::Fronts);
                }
            })*
        }
        /// The scripts on Apache ZooKeeper.
        mod reference {
            $(#[test]
            fn $script() {
                if $crate::tool::requires(&[$crate::tool::Tool::Apache, $($crate::tool::Tool::$tool),*]) {
                    super::$script($crate::node::Server::Apache);
                }
            })*
        }
    };
}
