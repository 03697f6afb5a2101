"""How the method is cited, on every card."""

PAPER_BIBTEX = """\
@inproceedings{zhang2026equal,
  title     = {Not All Documents Are What You Need for Extracting Instruction Tuning Data},
  author    = {Chi Zhang and Huaping Zhong and Hongtao Li and Chengliang Chai and Jiawei Hong and Yuhao Deng and
               Jiacheng Wang and Tian Tan and Yizhou Yan and Jiantao Qiu and Ye Yuan and Guoren Wang and Conghui He and
               Lei Cao},
  booktitle = {International Conference on Learning Representations},
  year      = {2026},
  url       = {https://arxiv.org/abs/2505.12250}
}"""
