"""A rule for the example worker."""

def _capitals_impl(ctx):
    output = ctx.actions.declare_file(ctx.label.name + ".capitals")
    args = ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)
    args.add_all(ctx.files.srcs)
    args.add(output)
    ctx.actions.run(
        executable = ctx.executable.worker,
        inputs = ctx.files.srcs,
        outputs = [output],
        arguments = ["--worker_protocol=" + ctx.attr.protocol, args],
        mnemonic = "Capitals",
        execution_requirements = {
            "requires-worker-protocol": ctx.attr.protocol,
            "supports-multiplex-sandboxing": "1",
            "supports-multiplex-workers": "1",
            "supports-worker-cancellation": "1",
            "supports-workers": "1",
        },
    )
    return DefaultInfo(files = depset([output]))

capitals = rule(
    implementation = _capitals_impl,
    doc = "The text of a file in capitals.",
    attrs = {
        "protocol": attr.string(default = "proto"),
        "srcs": attr.label_list(doc = "One file; the worker panics if there are more.", allow_files = True),
        "worker": attr.label(
            default = "worker",
            executable = True,
            allow_single_file = True,
            cfg = "exec",
        ),
    },
)
