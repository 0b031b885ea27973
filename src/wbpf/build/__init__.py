"""From C to eBPF objects, and from a project's folder to one WebAssembly module.

`compile` and `strip` make objects, `headers` the headers that they need, `needs` reads what an object needs,
`skeleton` generates what control programs use, `project` reads wbpf.toml, `module` does it all, `new` starts
a project.
"""

from wbpf.build.compile import compile_bpf
from wbpf.build.module import BuildResult, build
from wbpf.build.new import new_project
from wbpf.build.project import Project

__all__ = ["BuildResult", "Project", "build", "compile_bpf", "new_project"]
