"""The benchmark's report: every method compared with ProxyAno, the controls and the paper."""
