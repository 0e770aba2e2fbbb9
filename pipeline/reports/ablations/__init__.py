"""The ablations' report: the paper's Tables III to V and Figs. 11 and 12 measured again."""
