from fewtune.service.worker.process import main

main()
