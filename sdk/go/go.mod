module wbpf

go 1.24
