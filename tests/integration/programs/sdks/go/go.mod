module cases

go 1.24

require wbpf v0.0.0

// `wbpf build` puts it there.
replace wbpf => ./build/sdk
